package eksapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association/memory"
	"github.com/openpodidentity/podid/internal/eksapi"
)

// FuzzEKSRequest sends anything to a handler that lets everybody do everything:
// it never panics, never fails (5xx but for what it refuses by name), and always
// answers with JSON.
func FuzzEKSRequest(f *testing.F) {
	const associations = "/clusters/lab_1/pod-identity-associations"
	f.Add("POST", associations, `{"namespace":"shop","serviceAccount":"cart","roleArn":"`+role+`","tags":{"a":"b"},"clientRequestToken":"0123456789abcdef0123456789abcdef0123"}`)
	f.Add("POST", associations, `{"namespace":"shop","serviceAccount":"a.b","roleArn":"`+role+`","policy":"{\"Version\":\"2012-10-17\",\"Statement\":[]}","disableSessionTags":true,"targetRoleArn":"`+targetRole+`"}`)
	f.Add("GET", associations+"?maxResults=1&namespace=shop&nextToken=MS9zaG9wL2NhcnQ", "")
	f.Add("POST", associations+"/a-00000000000000000", `{"targetRoleArn":"","policy":"","disableSessionTags":false}`)
	f.Add("DELETE", associations+"/a-00000000000000000", "")
	f.Add("POST", "/tags/arn%3Aaws%3Aeks%3Aeu-central-1%3A111122223333%3Apodidentityassociation%2Flab_1%2Fa-00000000000000000", `{"tags":{"a":"b"}}`)
	f.Add("DELETE", "/tags/"+clusterARN+"?tagKeys=a&tagKeys=b", "")
	f.Add("GET", "/clusters?include=all", "")
	f.Add("GET", "/clusters/lab_1", "")
	f.Add("PUT", "//%2f/%00?%", "\x00")
	f.Fuzz(func(t *testing.T, method, target, body string) {
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		store, err := memory.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		handler := &eksapi.Handler{
			Cluster: cluster, Store: store,
			Access:   func(*http.Request, string, string) error { return nil },
			PassRole: func(*http.Request, podid.RoleARN) error { return nil },
		}
		w := httptest.NewRecorder()
		r := (&http.Request{Method: method, URL: u, Body: io.NopCloser(strings.NewReader(body))}).WithContext(t.Context())
		handler.ServeHTTP(w, r)
		var answer map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("%d %s: %v", w.Code, w.Body, err)
		}
		switch message, _ := answer["message"].(string); {
		case w.Code == http.StatusOK:
		case w.Code == http.StatusNotImplemented, w.Code >= 400 && w.Code < 500:
			if message == "" || w.Header().Get("X-Amzn-Errortype") == "" {
				t.Errorf("%d without a reason: %s", w.Code, w.Body)
			}
		default:
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
