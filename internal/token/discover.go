package token

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxDocument bounds what is read of an issuer's answers, in bytes.
const maxDocument = 256 << 10

// Discover gets the JWKS of an issuer as OpenID Connect Discovery 1.0 says, section 4. It is
// fit for Remote.Fetch where the issuer is public.
func Discover(ctx context.Context, client *http.Client, issuer string) ([]byte, error) {
	text, err := document(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, err
	}
	var told struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(text, &told); err != nil {
		return nil, fmt.Errorf("read the issuer's configuration: %w", err)
	}
	if told.Issuer != issuer {
		return nil, fmt.Errorf("the issuer calls itself %q, not %q", told.Issuer, issuer)
	}
	return document(ctx, client, told.JWKS)
}

func document(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if request.URL.Scheme != "https" {
		return nil, fmt.Errorf("%s is not https: keys that anybody can change prove nothing", url)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err == nil && len(text) > maxDocument {
		err = fmt.Errorf("%s answers more than %d bytes", url, maxDocument)
	}
	return text, err
}
