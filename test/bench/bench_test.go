// Package bench_test measures podid against a reference in the same run. What
// counts is the ratio: machines are noisy, and both sides feel the noise alike.
//
//	make bench
package bench_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/sandbox"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
)

// compare runs subject and reference in turns of n operations and reports the
// time of both for one operation, and their ratio.
func compare(b *testing.B, n int, reference, subject func(n int)) {
	b.Helper()
	reference(n) // warm: connections, caches, the garbage collector's pace
	subject(n)
	var ours, theirs time.Duration
	turns := 0
	for b.Loop() {
		start := time.Now()
		reference(n)
		middle := time.Now()
		subject(n)
		theirs += middle.Sub(start)
		ours += time.Since(middle)
		turns++
	}
	operations := float64(turns * n)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(ours.Nanoseconds())/operations, "podid-ns")
	b.ReportMetric(float64(theirs.Nanoseconds())/operations, "reference-ns")
	b.ReportMetric(operations/ours.Seconds(), "podid-per-s")
	b.ReportMetric(float64(ours)/float64(theirs), "ratio")
}

// BenchmarkAgentHitAgainstBareHandler is a cached answer of the agent over loopback, 32
// connections, against a bare net/http handler that writes the same bytes.
func BenchmarkAgentHitAgainstBareHandler(b *testing.B) {
	w := start(b)
	token := pod(b, w)
	first := get(b, w.Agent, token)
	bare := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header()["Content-Type"] = []string{"application/json"}
		_, _ = rw.Write(first)
	}))
	defer bare.Close()
	reference := dial(b, bare.URL+"/v1/credentials", token, 32)
	subject := dial(b, w.Agent, token, 32)
	compare(b, 32*50, reference.drive, subject.drive)
}

// BenchmarkExchangeAgainstAssumeRole is the whole exchange (token, pod, association, AssumeRole at
// the STS in this process) against the AssumeRole call alone with the same SDK.
func BenchmarkExchangeAgainstAssumeRole(b *testing.B) {
	w := start(b)
	token := pod(b, w)
	client := sts.New(sts.Options{Region: w.Cluster.Region, BaseEndpoint: &w.Endpoint, Credentials: static(w.AWS.Admin())})
	call := &sts.AssumeRoleInput{RoleArn: aws.String(role), RoleSessionName: aws.String("bench")}
	for _, tag := range podid.SessionTags(w.Cluster, podid.Workload{Namespace: "shop", ServiceAccount: "cart", Pod: "cart-0", PodUID: "uid"}) {
		call.Tags = append(call.Tags, types.Tag{Key: &tag.Key, Value: &tag.Value})
		call.TransitiveTagKeys = append(call.TransitiveTagKeys, tag.Key)
	}
	reference := func(n int) {
		for range n {
			_, err := client.AssumeRole(b.Context(), call)
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	subject := func(n int) {
		for range n {
			if _, err := w.Exchange.Exchange(b.Context(), auth.Caller{Node: sandbox.NodeName}, token); err != nil {
				b.Fatal(err)
			}
		}
	}
	compare(b, 20, reference, subject)
	b.ReportMetric(testing.AllocsPerRun(100, func() { subject(1) }), "podid-allocs")
}

const (
	role        = "arn:aws:iam::111122223333:role/bench"
	trust       = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com","AWS":"arn:aws:iam::111122223333:root"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`
	clusterName = "local"
)

// start starts a world with one role that one service account may use.
func start(b *testing.B) *sandbox.World {
	b.Helper()
	w, err := sandbox.Start(b.Context(), sandbox.Config{Cluster: clusterName})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := w.Close(); err != nil {
			b.Error(err)
		}
	})
	client := iam.New(iam.Options{Region: w.Cluster.Region, BaseEndpoint: &w.Endpoint, Credentials: static(w.AWS.Admin())})
	if _, err := client.CreateRole(b.Context(), &iam.CreateRoleInput{RoleName: aws.String("bench"), AssumeRolePolicyDocument: aws.String(trust)}); err != nil {
		b.Fatal(err)
	}
	_, err = w.Associations.Create(b.Context(), podid.Association{Namespace: "shop", ServiceAccount: "cart", Role: role})
	if err != nil {
		b.Fatal(err)
	}
	return w
}

func static(c podid.Credentials) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
}

// pod starts a pod and returns its token.
func pod(b *testing.B, w *sandbox.World) string {
	b.Helper()
	p, err := w.Pods.Start("shop", "cart", "", os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	token, err := w.Pods.Token(p.UID, podid.AudiencePods, time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	return token
}

func get(b *testing.B, url, token string) []byte {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.Fatal(response.Status, string(body), err)
	}
	return body
}

// connections are kept open to one server. The client does as little as a client
// can, so that what is measured is the server.
type connections struct {
	b       *testing.B
	request []byte
	size    int // of a whole response
	open    []net.Conn
}

func dial(b *testing.B, url, token string, n int) *connections {
	b.Helper()
	host, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	c := &connections{b: b, request: []byte("GET /" + path + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: " + token + "\r\n\r\n")}
	for range n {
		connection, err := new(net.Dialer).DialContext(context.Background(), "tcp", host)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { connection.Close() })
		c.open = append(c.open, connection)
	}
	if _, err := c.open[0].Write(c.request); err != nil {
		b.Fatal(err)
	}
	var whole bytes.Buffer
	response, err := http.ReadResponse(bufio.NewReader(io.TeeReader(c.open[0], &whole)), nil)
	if err != nil || response.StatusCode != http.StatusOK || response.ContentLength < 0 {
		b.Fatal(response, err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		b.Fatal(err)
	}
	c.size = whole.Len() // header and body: the next response is as long
	return c
}

// drive makes n requests, spread over the connections.
func (c *connections) drive(n int) {
	var done sync.WaitGroup
	for _, connection := range c.open {
		done.Go(func() {
			buffer := make([]byte, c.size)
			for range n / len(c.open) {
				if _, err := connection.Write(c.request); err != nil {
					c.b.Error(err)
					return
				}
				if _, err := io.ReadFull(connection, buffer); err != nil || !bytes.HasPrefix(buffer, []byte("HTTP/1.1 200")) {
					c.b.Errorf("%v: %.80s", err, buffer)
					return
				}
			}
		})
	}
	done.Wait()
}
