package main

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/spf13/cobra"
)

// newApplication is the workload of the demo: what any Go program does to list a
// bucket, with an unmodified SDK that finds everything in its environment.
func newApplication() *cobra.Command {
	return &cobra.Command{
		Use:    "application BUCKET",
		Short:  "List a bucket, as the demo's workload does",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			err := listBucket(c, args[0])
			if err != nil {
				fmt.Fprintln(c.ErrOrStderr(), err)
				return exitCode(1)
			}
			return nil
		},
	}
}

func listBucket(c *cobra.Command, bucket string) error {
	cfg, err := config.LoadDefaultConfig(c.Context())
	if err != nil {
		return err
	}
	objects, err := s3.NewFromConfig(cfg).ListObjectsV2(c.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil {
		return err
	}
	for _, object := range objects.Contents {
		fmt.Fprintf(c.OutOrStdout(), "%s  %6d  %s\n", object.LastModified.UTC().Format("2006-01-02 15:04:05"), *object.Size, *object.Key)
	}
	return nil
}
