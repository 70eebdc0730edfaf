package s3

import (
	"strconv"

	"github.com/openpodidentity/podid/internal/awswire"
)

// The errors of S3, with its texts where they are known.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html

func fail(status int, code, message string, extra ...string) *awswire.Error {
	e := &awswire.Error{Status: status, Code: code, Message: message}
	for i := 0; i+1 < len(extra); i += 2 {
		if e.Extra == nil {
			e.Extra = make(map[string]string)
		}
		e.Extra[extra[i]] = extra[i+1]
	}
	return e
}

func errNoSuchBucket(bucket string) *awswire.Error {
	return fail(404, "NoSuchBucket", "The specified bucket does not exist", "BucketName", bucket)
}

func errNoSuchKey(key string) *awswire.Error {
	return fail(404, "NoSuchKey", "The specified key does not exist.", "Key", key)
}

func errNoSuchUpload(id string) *awswire.Error {
	return fail(404, "NoSuchUpload", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.", "UploadId", id)
}

func errInvalidBucketName(bucket string) *awswire.Error {
	return fail(400, "InvalidBucketName", "The specified bucket is not valid.", "BucketName", bucket)
}

func errKeyTooLong(size int) *awswire.Error {
	return fail(400, "KeyTooLongError", "Your key is too long", "MaxSizeAllowed", strconv.Itoa(maxKey), "Size", strconv.Itoa(size))
}

func errInvalidURI() *awswire.Error {
	return fail(400, "InvalidURI", "Couldn't parse the specified URI.")
}

func errPreconditionFailed(condition string) *awswire.Error {
	return fail(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", "Condition", condition)
}

func errNotModified() *awswire.Error { return fail(304, "NotModified", "Not Modified") }

func errInvalidRange(asked string, size int64) *awswire.Error {
	return fail(416, "InvalidRange", "The requested range is not satisfiable", "RangeRequested", asked, "ActualObjectSize", strconv.FormatInt(size, 10))
}

func errInvalidArgument(name, value, message string) *awswire.Error {
	return fail(400, "InvalidArgument", message, "ArgumentName", name, "ArgumentValue", value)
}

func errInvalidRequest(message string) *awswire.Error { return fail(400, "InvalidRequest", message) }

func errMalformedXML() *awswire.Error {
	return fail(400, "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
}

func errEntityTooLarge(size, most int64) *awswire.Error {
	return fail(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size",
		"ProposedSize", strconv.FormatInt(size, 10), "MaxSizeAllowed", strconv.FormatInt(most, 10))
}

func errIncompleteBody() *awswire.Error {
	return fail(400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
}

func errBadDigest(what string) *awswire.Error {
	return fail(400, "BadDigest", "The "+what+" you specified did not match what we received.")
}

func errInvalidPart(number int) *awswire.Error {
	return fail(400, "InvalidPart", "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.", "PartNumber", strconv.Itoa(number))
}

func errEntityTooSmall(number int, size int64) *awswire.Error {
	return fail(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size",
		"ProposedSize", strconv.FormatInt(size, 10), "MinSizeAllowed", strconv.Itoa(minPart), "PartNumber", strconv.Itoa(number))
}

func errNotImplemented(what string) *awswire.Error { return awswire.NotImplemented("S3", what) }
