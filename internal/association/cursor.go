package association

import (
	"encoding/base64"
	"strings"

	"github.com/openpodidentity/podid/problem"
)

// Cursor is the place in a listing ordered by namespace and service account
// after which the next page begins. It holds names, not positions: a listing
// that walks all pages meets every association that existed throughout exactly
// once, whatever is created and deleted meanwhile.
type Cursor struct {
	Namespace, ServiceAccount string
}

// String is the cursor as callers carry it: opaque, URL-safe.
func (c Cursor) String() string {
	return base64.RawURLEncoding.EncodeToString([]byte("1/" + c.Namespace + "/" + c.ServiceAccount))
}

// ParseCursor reads what String wrote; anything else is request-invalid.
func ParseCursor(s string) (Cursor, error) {
	if len(s) <= maxCursor {
		b, _ := base64.RawURLEncoding.DecodeString(s)
		version, rest, _ := strings.Cut(string(b), "/")
		namespace, account, _ := strings.Cut(rest, "/")
		c := Cursor{namespace, account}
		// The decoder skips line breaks: only the very text is taken.
		if version == "1" && validateNames(namespace, account) == nil && c.String() == s {
			return c, nil
		}
	}
	return Cursor{}, problem.New(problem.RequestInvalid, "nextToken is not one that this API gave out").
		Because("").
		Fixed("send the nextToken of the page before, unchanged, or none to begin anew")
}

// maxCursor bounds the base64 of "1/", 63, "/" and 253 characters.
const maxCursor = 428
