package eksapi

import (
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/openpodidentity/podid/problem"
)

// decode reads a JSON object into the pointers of fields. A field that is not
// among them is refused by its name: to drop what a newer client asks for would
// be to answer something else than was asked.
func decode(body []byte, fields map[string]any) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil || object == nil {
		return invalid("the request body is not a JSON object").
			Fixed("send the fields of the operation as one JSON object").From(err)
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		field, ok := fields[name]
		if !ok {
			return problem.New(problem.RequestInvalid, "the request has a field that podid does not know: %q", printable(name)).
				Because("podid refuses what it would otherwise have to ignore").
				Fixed("leave the field out; docs/components/eksapi.md lists those that exist")
		}
		if err := json.Unmarshal(object[name], field); err != nil {
			return invalid("the field %s is not %s", name, kind(field)).From(err)
		}
	}
	return nil
}

func kind(field any) string {
	switch field.(type) {
	case **string:
		return "a string"
	case **bool:
		return "a boolean"
	case *map[string]string:
		return "an object of strings"
	}
	return "of the right type"
}

// query parses the query strictly.
func (c *call) query() (url.Values, error) {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return nil, invalid("the query is badly encoded").Fixed("percent-encode it").From(err)
	}
	return values, nil
}

// maxResults is 1 to 100, and 100 if not given.
func maxResults(values url.Values) (int, error) {
	if !values.Has("maxResults") {
		return 100, nil
	}
	n, err := strconv.Atoi(values.Get("maxResults"))
	if err != nil || n < 1 || n > 100 {
		return 0, invalid("maxResults is %q, not a number from 1 to 100", printable(values.Get("maxResults")))
	}
	return n, nil
}

// invalid is the problem of a request whose fault is told in full by what is
// said of it.
func invalid(format string, args ...any) *problem.Problem {
	return problem.New(problem.RequestInvalid, format, args...).Because("")
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
