package awswire

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func post(t testing.TB, form string) (Query, error) {
	t.Helper()
	r := httptest.NewRequest("POST", "/", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	return ParseQuery(r)
}

func mustPost(t testing.TB, form string) Query {
	t.Helper()
	q, err := post(t, form)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func wantCode(t testing.TB, err error, status int, code string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != code || e.Status != status {
		t.Errorf("error is %v, want %d %s", err, status, code)
	}
}

func TestParametersComeTyped(t *testing.T) {
	q := mustPost(t, "Action=CreateRole&Version=2010-05-08&RoleName=r%C3%B6le+1&MaxSessionDuration=7200&Enabled=TRUE"+
		"&Tags.member.2.Key=b&Tags.member.2.Value=2&Tags.member.1.Key=a&Tags.member.1.Value=&Tags.member.10.Key=c"+
		"&Keys.member.1=x&Keys.member.3=y&Empty=")
	if q.Action != "CreateRole" || q.Version != "2010-05-08" {
		t.Errorf("action %q version %q", q.Action, q.Version)
	}
	if got := q.String("RoleName"); got != "röle 1" {
		t.Errorf("RoleName = %q", got)
	}
	if n, err := q.Int("MaxSessionDuration", 3600, 3600, 43200); n != 7200 || err != nil {
		t.Errorf("MaxSessionDuration = %d, %v", n, err)
	}
	if n, err := q.Int("Absent", 42, 0, 100); n != 42 || err != nil {
		t.Errorf("Absent = %d, %v", n, err)
	}
	if b, err := q.Bool("Enabled", false); !b || err != nil {
		t.Errorf("Enabled = %v, %v", b, err)
	}
	tags, err := q.List("Tags", 50)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, tag := range tags {
		keys = append(keys, tag.String("Key")+"="+tag.String("Value"))
	}
	if diff := cmp.Diff([]string{"a=", "b=2", "c="}, keys); diff != "" {
		t.Error(diff)
	}
	if got, err := q.Strings("Keys", 2); err != nil || !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("Keys = %q, %v", got, err)
	}
	if got, err := q.Strings("Empty", 2); err != nil || got == nil || len(got) != 0 {
		t.Errorf("Empty = %#v, %v: an empty list is there", got, err)
	}
	if got, err := q.Strings("Absent", 2); err != nil || got != nil {
		t.Errorf("Absent = %#v, %v: an absent list is nil", got, err)
	}
	if err := q.Unimplemented("iam"); err != nil {
		t.Errorf("every parameter was read, yet: %v", err)
	}
}

func TestAnUnreadParameterIsRefusedByName(t *testing.T) {
	q := mustPost(t, "Action=CreateRole&RoleName=r&Tags.member.1.Key=a&Tags.member.1.Colour=red")
	q.String("RoleName")
	tags, err := q.List("Tags", 50)
	if err != nil {
		t.Fatal(err)
	}
	tags[0].String("Key")
	if diff := cmp.Diff([]string{"Tags.member.1.Colour"}, q.Unknown()); diff != "" {
		t.Error(diff)
	}
	err = q.Unimplemented("iam")
	wantCode(t, err, 501, "NotImplemented")
	if !strings.Contains(err.Error(), "Tags.member.1.Colour") {
		t.Errorf("%v does not name the parameter", err)
	}
}

func TestMalformedFormsAreRefused(t *testing.T) {
	for form, code := range map[string]string{
		"":                                   "MissingAction",
		"RoleName=r":                         "MissingAction",
		"Action=A&RoleName=%zz":              "MalformedQueryString",
		"Action=A&%zz=r":                     "MalformedQueryString",
		"Action=A&Action=B":                  "MalformedQueryString",
		"Action=A&RoleName=%ff":              "MalformedQueryString",
		"Action=A%3Cb%3E":                    "InvalidAction",
		"Action=" + strings.Repeat("A", 129): "InvalidAction",
		"Action=A" + strings.Repeat("&a", MaxParameters): "MalformedQueryString",
	} {
		_, err := post(t, form)
		wantCode(t, err, 400, code)
	}
	_, err := post(t, "Action=A&Document="+strings.Repeat("x", MaxForm))
	wantCode(t, err, 413, "EntityTooLarge")

	r := httptest.NewRequest("POST", "/", strings.NewReader("Action=A"))
	r.Header.Set("Content-Type", "application/json")
	_, err = ParseQuery(r)
	wantCode(t, err, 400, "MalformedQueryString")

	_, err = ParseQuery(httptest.NewRequest("PUT", "/?Action=A", nil))
	wantCode(t, err, 405, "MalformedHttpRequest")
}

func TestMalformedListsAreRefused(t *testing.T) {
	for _, name := range []string{"Tags.member.0", "Tags.member.-1", "Tags.member.+1", "Tags.member.01", "Tags.member.x", "Tags.member.", "Tags.member.99999", "Tags.member.18446744073709551617"} {
		q := mustPost(t, "Action=A&"+url.QueryEscape(name)+"=v")
		_, err := q.Strings("Tags", 50)
		wantCode(t, err, 400, "MalformedQueryString")
		_, err = q.List("Tags", 50)
		wantCode(t, err, 400, "MalformedQueryString")
	}
	q := mustPost(t, "Action=A&Keys.member.1.Key=v&Text=v")
	_, err := q.Strings("Keys", 50)
	wantCode(t, err, 400, "MalformedQueryString")
	_, err = q.Strings("Text", 50)
	wantCode(t, err, 400, "ValidationError")

	var form strings.Builder
	form.WriteString("Action=A")
	for i := range 51 {
		form.WriteString("&Tags.member." + strconv.Itoa(i+1) + ".Key=k")
	}
	_, err = mustPost(t, form.String()).List("Tags", 50)
	wantCode(t, err, 400, "ValidationError")
}

func TestConstraintsAreWordedAsAWSWordsThem(t *testing.T) {
	q := mustPost(t, "Action=A&N=7&Empty=&B=maybe&Tags.member.1.Size=x")
	tags, err := q.List("Tags", 1)
	if err != nil {
		t.Fatal(err)
	}
	_, small := q.Int("N", 0, 8, 9)
	_, big := q.Int("N", 0, 1, 6)
	_, notBool := q.Bool("B", false)
	_, absent := q.Required("RoleName")
	_, empty := q.Required("Empty")
	_, nested := tags[0].Int("Size", 0, 0, 1)
	for want, err := range map[string]error{
		"Value '7' at 'n' failed to satisfy constraint: Member must have value greater than or equal to 8":     small,
		"Value '7' at 'n' failed to satisfy constraint: Member must have value less than or equal to 6":        big,
		"Value 'maybe' at 'b' failed to satisfy constraint: Member must be true or false":                      notBool,
		"Value null at 'roleName' failed to satisfy constraint: Member must not be null":                       absent,
		"Value '' at 'empty' failed to satisfy constraint: Member must have length greater than or equal to 1": empty,
		"Value 'x' at 'tags.1.member.size' failed to satisfy constraint: Member must be a number":              nested,
	} {
		wantCode(t, err, 400, "ValidationError")
		if err != nil && !strings.HasSuffix(err.Error(), "1 validation error detected: "+want) {
			t.Errorf("%v, want …%s", err, want)
		}
	}
}

func TestAPresignedCallIsReadFromTheQueryString(t *testing.T) {
	q, err := ParseQuery(httptest.NewRequest(http.MethodGet,
		"/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0", nil))
	if err != nil || q.Action != "GetCallerIdentity" {
		t.Fatalf("%+v, %v", q, err)
	}
	if names := q.Unknown(); len(names) != 0 {
		t.Errorf("unknown: %q", names)
	}
}

func TestTheZeroQueryIsEmpty(t *testing.T) {
	var q Query
	if list, err := q.List("A", 1); list != nil || err != nil || q.String("A") != "" || q.Has("A") || q.Unknown() != nil {
		t.Error("the zero Query has content")
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, form := range []string{"Action=A&Version=1", "Action=A&Tags.member.1.Key=a&Tags.member.1.Value=b", "Action=A&Tags=", "Action=A&Tags.member.1=x&Tags.member.3=y", "Action=A&a=%zz", "Action=%41&N=12&B=true&&=&="} {
		f.Add(form)
	}
	f.Fuzz(func(t *testing.T, form string) {
		q, err := post(t, form)
		if err != nil {
			if AsError(err).Code == "InternalFailure" {
				t.Fatalf("no cause given: %v", err)
			}
			return
		}
		// What net/url reads, this reads alike.
		values, err := url.ParseQuery(form)
		if err == nil {
			for name, value := range values {
				if q.Has(name) && q.String(name) != value[0] {
					t.Fatalf("%q is %q, net/url reads %q", name, q.String(name), value)
				}
			}
		}
		for _, read := range []func() error{
			func() error { _, err := q.Strings("Tags", 10); return err },
			func() error { _, err := q.List("Tags", 10); return err },
			func() error { _, err := q.Int("N", 0, 1, 10); return err },
			func() error { _, err := q.Bool("B", false); return err },
			func() error { _, err := q.Required("N"); return err },
			func() error { return q.Unimplemented("iam") },
		} {
			if err := read(); err != nil && AsError(err).Code == "InternalFailure" {
				t.Fatalf("no cause given: %v", err)
			}
		}
	})
}
