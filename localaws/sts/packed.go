package sts

import (
	"compress/flate"
	"io"
	"net/http"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
)

// AWS packs session policies and tags into a binary form of its own and limits
// its size. The form is not published; this is a model of it, fitted to what
// people have measured, and right to a few percent for tags: nine tags of 252
// characters are 498 %, the six of EKS Pod Identity are around 70 %. Policies
// are compressed; their share is a guess.
//
// Source: https://github.com/aws/containers-roadmap/issues/2413,
// https://github.com/aws-actions/configure-aws-credentials/issues/1898
const (
	tagsAllotted   = 459  // bytes of tags that are 100 %
	perTag         = 2    // bytes around each tag
	policyAllotted = 1400 // bytes of deflated policies that are 100 %
	perARN         = 16   // bytes of a managed policy's ARN
)

// packedSize is PackedPolicySize, in percent; PackedPolicyTooLarge above 100.
func packedSize(tags []podid.Tag, policy string, arns []string) (int, error) {
	bytes := 0
	for _, t := range tags {
		bytes += len(t.Key) + len(t.Value) + perTag
	}
	ofTags := percent(bytes, tagsAllotted)
	ofPolicies := percent(deflated(policy)+perARN*len(arns), policyAllotted)
	switch total := ofTags + ofPolicies; {
	case total <= 100:
		return total, nil
	case ofPolicies == 0:
		return 0, tooLarge("Packed size of session tags consumes %d%% of allotted space.", total)
	default:
		return 0, tooLarge("Packed policy consumes %d%% of allotted space, please use smaller policy.", total)
	}
}

func tooLarge(format string, percent int) error {
	return awswire.Errorf(http.StatusBadRequest, "PackedPolicyTooLarge", format, percent)
}

// percent rounds up: a session with a tag has no packed size of 0.
func percent(n, whole int) int { return (100*n + whole - 1) / whole }

func deflated(text string) int {
	if text == "" {
		return 0
	}
	var n counter
	w, err := flate.NewWriter(&n, flate.BestCompression)
	if err != nil {
		return len(text)
	}
	if _, err := io.Copy(w, strings.NewReader(text)); err != nil {
		return len(text)
	}
	if err := w.Close(); err != nil {
		return len(text)
	}
	return int(n)
}

type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
