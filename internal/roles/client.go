package roles

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

func (s *Assumer) open() {
	s.base = s.AWS.Credentials
	if s.base == nil {
		s.base = noCredentials{}
	}
	// One cache for the check in Assume and for signing.
	s.base = aws.NewCredentialsCache(s.base)
	s.sts = sts.NewFromConfig(s.AWS, func(o *sts.Options) {
		o.Credentials = s.base
		o.RetryMaxAttempts = 2
		o.Retryer = newRetryer()
	})
}

// newRetryer tries a second time, soon, what may be a lost connection or a
// passing fault. Throttling is handed on: whoever waits for the answer backs off
// better than a second call within the same second does.
func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 2
		o.MaxBackoff = 100 * time.Millisecond
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if throttled(err) {
				return aws.FalseTernary
			}
			return aws.UnknownTernary
		})}, o.Retryables...)
	})
}

// throttled is also true of a bare 429.
func throttled(err error) bool {
	if retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) == aws.TrueTernary {
		return true
	}
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	return ok && response.HTTPStatusCode() == http.StatusTooManyRequests
}

// withSource adds the two headers from which STS makes aws:SourceArn and
// aws:SourceAccount when a service calls. They are added before signing, so the
// signature covers them.
func (s *Assumer) withSource(o *sts.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Build.Add(middleware.BuildMiddlewareFunc("podidSource", func(
			ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler,
		) (middleware.BuildOutput, middleware.Metadata, error) {
			if request, ok := in.Request.(*smithyhttp.Request); ok {
				request.Header.Set("X-Amz-Source-Arn", s.Cluster.ARN())
				request.Header.Set("X-Amz-Source-Account", s.Cluster.Account)
			}
			return next.HandleBuild(ctx, in)
		}), middleware.After)
	})
}

type noCredentials struct{}

func (noCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("no credentials are configured")
}
