package constraint

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/awswire"
)

// MaxTags is how many tags a resource or a session may have.
const MaxTags = 50

// Tags reads and checks a list of tags. Keys that differ in case alone are
// duplicates, keys that begin with aws: are AWS's own: both are errors of code
// invalid (InvalidInput of IAM, InvalidParameterValue of STS).
func Tags(q awswire.Query, name, invalid string) ([]podid.Tag, error) {
	members, err := q.List(name, MaxTags)
	if err != nil {
		return nil, err
	}
	tags := make([]podid.Tag, 0, len(members))
	seen := make(map[string]bool, len(members))
	for i, m := range members {
		tag := podid.Tag{Key: m.String("Key"), Value: m.String("Value")}
		if !m.Has("Value") {
			return nil, awswire.Errorf(http.StatusBadRequest, "ValidationError",
				"1 validation error detected: Value null at 'tags.%d.member.value' failed to satisfy constraint: Member must not be null", i+1)
		}
		if err := TagKey.Check(fmt.Sprintf("tags.%d.member.key", i+1), tag.Key); err != nil {
			return nil, err
		}
		if err := TagValue.Check(fmt.Sprintf("tags.%d.member.value", i+1), tag.Value); err != nil {
			return nil, err
		}
		fold := FoldKey(tag.Key)
		if strings.HasPrefix(fold, "aws:") {
			return nil, awswire.Errorf(http.StatusBadRequest, invalid, "The tag key %s begins with aws:, which is reserved.", tag.Key)
		}
		if seen[fold] {
			return nil, awswire.Errorf(http.StatusBadRequest, invalid,
				"Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		seen[fold] = true
		tags = append(tags, tag)
	}
	return tags, nil
}

// FoldKey is the form of a tag key in which keys that are the same are equal: in
// ASCII lower case, as policies compare condition keys.
func FoldKey(key string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, key)
}

// SameKey reports whether two tag keys are the same.
func SameKey(a, b string) bool { return FoldKey(a) == FoldKey(b) }

// TagKeys reads and checks a list of tag keys.
func TagKeys(q awswire.Query, name string) ([]string, error) {
	keys, err := q.Strings(name, MaxTags)
	if err != nil {
		return nil, err
	}
	member := strings.ToLower(name[:1]) + name[1:]
	for i, key := range keys {
		if err := TagKey.Check(fmt.Sprintf("%s.%d.member", member, i+1), key); err != nil {
			return nil, err
		}
	}
	return keys, nil
}
