package s3

import "slices"

// Headers that several operations understand.
var (
	writeHeaders    = []string{"X-Amz-Tagging"}
	listParams      = []string{"prefix", "delimiter", "max-keys", "encoding-type"}
	getParams       = []string{"partNumber", "response-content-type", "response-content-encoding", "response-content-disposition", "response-content-language", "response-cache-control", "response-expires"}
	completeHeaders = []string{"X-Amz-Checksum-Type", "X-Amz-Mp-Object-Size", "X-Amz-Checksum-Crc32", "X-Amz-Checksum-Crc32c", "X-Amz-Checksum-Crc64nvme", "X-Amz-Checksum-Sha1", "X-Amz-Checksum-Sha256"}
)

// operations are all that is implemented. The first that matches a request is
// its operation, so those that ask for more come first.
var operations = []operation{
	{name: "ListBuckets", level: service, method: "GET", params: []string{"prefix", "max-buckets", "continuation-token", "bucket-region"}, serve: (*Handler).listBuckets},

	{name: "GetBucketLocation", level: ofBucket, method: "GET", query: "location", serve: (*Handler).getBucketLocation},
	{name: "ListMultipartUploads", level: ofBucket, method: "GET", query: "uploads", params: []string{"prefix", "delimiter", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"}, serve: (*Handler).listMultipartUploads},
	{name: "ListObjectsV2", level: ofBucket, method: "GET", query: "list-type", params: append([]string{"start-after", "continuation-token", "fetch-owner"}, listParams...), serve: (*Handler).listObjectsV2},
	{name: "ListObjects", level: ofBucket, method: "GET", params: append([]string{"marker"}, listParams...), serve: (*Handler).listObjects},
	{name: "HeadBucket", level: ofBucket, method: "HEAD", serve: (*Handler).headBucket},
	{name: "CreateBucket", level: ofBucket, method: "PUT", body: true, serve: (*Handler).createBucket},
	{name: "DeleteBucket", level: ofBucket, method: "DELETE", serve: (*Handler).deleteBucket},
	{name: "DeleteObjects", level: ofBucket, method: "POST", query: "delete", body: true, serve: (*Handler).deleteObjects},

	{name: "GetObjectTagging", level: ofObject, method: "GET", query: "tagging", serve: (*Handler).getObjectTagging},
	{name: "GetObjectAttributes", level: ofObject, method: "GET", query: "attributes", headers: []string{"X-Amz-Object-Attributes", "X-Amz-Max-Parts", "X-Amz-Part-Number-Marker"}, serve: (*Handler).getObjectAttributes},
	{name: "ListParts", level: ofObject, method: "GET", query: "uploadId", params: []string{"max-parts", "part-number-marker", "encoding-type"}, serve: (*Handler).listParts},
	{name: "GetObject", level: ofObject, method: "GET", params: getParams, headers: []string{"X-Amz-Checksum-Mode"}, serve: (*Handler).getObject},
	{name: "HeadObject", level: ofObject, method: "HEAD", params: getParams, headers: []string{"X-Amz-Checksum-Mode"}, serve: (*Handler).headObject},
	{name: "PutObjectTagging", level: ofObject, method: "PUT", query: "tagging", body: true, serve: (*Handler).putObjectTagging},
	{name: "UploadPartCopy", level: ofObject, method: "PUT", query: "uploadId", header: copySource, params: []string{"partNumber"}, headers: append([]string{copySource + "-Range"}, copySourceHeaders...), serve: (*Handler).uploadPartCopy},
	{name: "UploadPart", level: ofObject, method: "PUT", query: "uploadId", params: []string{"partNumber"}, body: true, serve: (*Handler).uploadPart},
	{name: "CopyObject", level: ofObject, method: "PUT", header: copySource, headers: slices.Concat(writeHeaders, copySourceHeaders, []string{"X-Amz-Metadata-Directive", "X-Amz-Tagging-Directive", "X-Amz-Checksum-Algorithm"}), meta: true, serve: (*Handler).copyObject},
	{name: "PutObject", level: ofObject, method: "PUT", headers: writeHeaders, body: true, meta: true, serve: (*Handler).putObject},
	{name: "CreateMultipartUpload", level: ofObject, method: "POST", query: "uploads", headers: append([]string{"X-Amz-Checksum-Algorithm", "X-Amz-Checksum-Type"}, writeHeaders...), meta: true, serve: (*Handler).createMultipartUpload},
	{name: "CompleteMultipartUpload", level: ofObject, method: "POST", query: "uploadId", headers: completeHeaders, serve: (*Handler).completeMultipartUpload},
	{name: "DeleteObjectTagging", level: ofObject, method: "DELETE", query: "tagging", serve: (*Handler).deleteObjectTagging},
	{name: "AbortMultipartUpload", level: ofObject, method: "DELETE", query: "uploadId", serve: (*Handler).abortMultipartUpload},
	{name: "DeleteObject", level: ofObject, method: "DELETE", serve: (*Handler).deleteObject},
}
