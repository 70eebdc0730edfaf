// Package s3 is the local AWS's S3: buckets and objects, copy, ranges,
// multipart uploads, listings, tags. It gets requests whose caller is proved and
// whose body is decoded, asks Access before it says anything about what exists,
// and refuses by name what it does not implement.
//
// The files api_*.go speak HTTP and know no storage; state*.go and bodies*.go
// store and know no HTTP; the others are pure.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/
package s3
