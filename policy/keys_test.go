package policy

import (
	"slices"
	"strings"
	"testing"
)

// GlobalKeys are the names of the catalogue's global keys.
func GlobalKeys() (names []string) {
	for _, k := range catalogue {
		if strings.HasPrefix(k.name, "aws:") {
			names = append(names, k.name)
		}
	}
	return names
}

// FamilyOfKey is the catalogue's spelling of a key, without the key of a tag.
func FamilyOfKey(key string) string {
	if k, ok := catalogued(asciiLower(key)); ok {
		return k.name
	}
	return key
}

// OperatorLabel is AWS's spelling of an operator with its qualifiers.
func OperatorLabel(operator string) string {
	k, _ := parseOperator(operator)
	return k.label
}

func TestKeysOfTheCatalogueAreFoundInLowerCase(t *testing.T) {
	for name, want := range map[string]string{
		"aws:principalarn":            "aws:PrincipalArn",
		"aws:requesttag/team":         "aws:RequestTag/",
		"aws:requesttag/a/b":          "aws:RequestTag/",
		"s3:requestobjecttagkeys":     "s3:RequestObjectTagKeys",
		"aws:requesttag/":             "aws:RequestTag/",
		"aws:requesttag":              "",
		"aws:principalarn/x":          "",
		"aws:PrincipalArn":            "",
		"oidc.example.com/id/abc:sub": "",
	} {
		if k, ok := catalogued(name); ok != (want != "") || ok && k.name != want {
			t.Errorf("%s is %q, %v", name, k.name, ok)
		}
	}
}

// A mistyped row would silently change what a key does.
func TestTheCatalogueIsWhole(t *testing.T) {
	global := 0
	var service []string
	for lower, k := range catalogue {
		if k.types == 0 || asciiLower(k.name) != lower || !strings.Contains(k.name, ":") {
			t.Errorf("%s: %+v", lower, k)
		}
		if strings.HasPrefix(k.name, "aws:") {
			global++
		}
		if k.serviceOnly {
			service = append(service, k.name)
		}
	}
	if global != 52 { // what the page's table lists
		t.Errorf("%d global keys", global)
	}
	slices.Sort(service)
	if !slices.Equal(service, []string{"aws:SourceAccount", "aws:SourceArn", "aws:SourceOrgID", "aws:SourceOrgPaths"}) {
		t.Errorf("keys of services' calls: %v", service)
	}
}
