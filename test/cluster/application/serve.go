package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/openpodidentity/podid/test/cluster/ask"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// serve lets a test look through the eyes of a pod:
//
//	GET  /sdk       the SDK's default chain asks, as new: credentials or its error
//	GET  /identity  sts:GetCallerIdentity with them
//	GET  /list?bucket=
//	POST /agent     one request to the agent, no second try; the body is another token, if any
//	POST /load?every=100ms&by=agent|sdk|kept   begins to ask again and again
//	GET  /load      figures so far; DELETE ends it and gives the last
func serve(address string) error {
	var l load
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sdk", func(w http.ResponseWriter, r *http.Request) { reply(w, bySDK(r.Context())) })
	mux.HandleFunc("GET /identity", func(w http.ResponseWriter, r *http.Request) { reply(w, identity(r.Context())) })
	mux.HandleFunc("POST /agent", func(w http.ResponseWriter, r *http.Request) {
		token, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		if err != nil {
			reply(w, ask.Answer{Error: err.Error()})
			return
		}
		reply(w, byAgent(r.Context(), string(token)))
	})
	mux.HandleFunc("POST /load", func(w http.ResponseWriter, r *http.Request) {
		every, err := time.ParseDuration(r.FormValue("every"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		l.begin(every, map[string]func(context.Context) ask.Answer{
			"sdk":   bySDK,
			"kept":  keeping(),
			"agent": func(ctx context.Context) ask.Answer { return byAgent(ctx, "") },
		}[r.FormValue("by")])
	})
	mux.HandleFunc("GET /load", func(w http.ResponseWriter, _ *http.Request) { reply(w, l.figures()) })
	mux.HandleFunc("DELETE /load", func(w http.ResponseWriter, _ *http.Request) { reply(w, l.end()) })
	server := http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	select {
	case err := <-ended:
		return err
	case <-told.Done():
	}
	// What applications do that flush first.
	if grace, err := time.ParseDuration(os.Getenv("APPLICATION_GRACE")); err == nil {
		time.Sleep(grace)
	}
	return nil
}

func reply(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// bySDK makes a new chain, so that nothing is remembered from the last time.
func bySDK(ctx context.Context) ask.Answer {
	began := time.Now()
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return ask.Answer{Error: err.Error()}
	}
	c, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return ask.Answer{Error: err.Error(), Took: time.Since(began)}
	}
	return ask.Answer{AccessKeyID: c.AccessKeyID, Expires: c.Expires, Took: time.Since(began)}
}

func identity(ctx context.Context) ask.Answer {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return ask.Answer{Error: err.Error()}
	}
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		return ask.Answer{Error: err.Error()}
	}
	return ask.Answer{ARN: *out.Arn}
}

// keeping is an application that goes on: one chain, whose credentials the SDK keeps, and a call of AWS with them.
func keeping() func(context.Context) ask.Answer {
	load := sync.OnceValues(func() (aws.Config, error) { return config.LoadDefaultConfig(context.Background()) })
	return func(ctx context.Context) ask.Answer {
		began := time.Now()
		cfg, err := load()
		if err != nil {
			return ask.Answer{Error: err.Error()}
		}
		out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
		if err != nil {
			return ask.Answer{Error: err.Error(), Took: time.Since(began)}
		}
		return ask.Answer{ARN: *out.Arn, Took: time.Since(began)}
	}
}

// direct opens a connection for each request: one that was open would hide an agent that is away.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// byAgent asks as SDKs do, but once.
func byAgent(ctx context.Context, token string) ask.Answer {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // botocore's
	defer cancel()
	if token == "" {
		text, err := os.ReadFile(os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
		if err != nil {
			return ask.Answer{Error: err.Error()}
		}
		token = string(text)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI"), nil)
	if err != nil {
		return ask.Answer{Error: err.Error()}
	}
	r.Header.Set("Authorization", strings.TrimSpace(token))
	response, err := direct.Do(r)
	if err != nil {
		return ask.Answer{Error: err.Error(), Took: time.Since(began)}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	answer := ask.Answer{Status: response.StatusCode, Took: time.Since(began)}
	if err != nil {
		answer.Error = err.Error()
		return answer
	}
	var told struct {
		AccessKeyID   string `json:"AccessKeyId"`
		Expiration    time.Time
		Code, Message string
	}
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&told); err != nil {
		answer.Error = err.Error()
		return answer
	}
	answer.AccessKeyID, answer.Expires, answer.Code, answer.Error = told.AccessKeyID, told.Expiration, told.Code, told.Message
	return answer
}
