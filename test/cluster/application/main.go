// Command application is what runs in the pods of the demo and of the scenarios: a program with an unmodified
// AWS SDK for Go that finds everything in its environment.
//
//	application list BUCKET           who am I, and what is in the bucket; once
//	application loop BUCKET INTERVAL  the same again and again
//	application serve ADDRESS         asks what a test tells it to, and how often; see serve.go
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "list":
		return list(ctx, args[1])
	case len(args) == 3 && args[0] == "loop":
		every, err := time.ParseDuration(args[2])
		if err != nil {
			return err
		}
		for ; ; time.Sleep(every) {
			if err := list(ctx, args[1]); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	}
	return errors.New("usage: application list BUCKET | loop BUCKET INTERVAL | serve ADDRESS")
}

func list(ctx context.Context, bucket string) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	identity, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		return err
	}
	fmt.Println("I am", *identity.Arn)
	objects, err := s3.NewFromConfig(cfg).ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil {
		return err
	}
	for _, object := range objects.Contents {
		fmt.Printf("%s  %6d  %s\n", object.LastModified.UTC().Format("2006-01-02 15:04:05"), *object.Size, *object.Key)
	}
	return nil
}
