package auth_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/internal/auth"

	"github.com/google/go-cmp/cmp"
)

// Programs read the record by its documented names.
func TestTheAuditRecordIsWhatItsPageSays(t *testing.T) {
	page, err := os.ReadFile("../../docs/components/auth.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## The audit record\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		group := ""
		for _, name := range regexp.MustCompile("`[^`]+`").FindAllString(cells[1], -1) {
			name = strings.Trim(name, "`")
			if strings.HasPrefix(name, ".") { // of the group that the first one names
				name = group + name
			}
			group, _, _ = strings.Cut(name, ".")
			documented = append(documented, name)
		}
	}
	written := fields(auth.Record, "")
	slices.Sort(documented)
	slices.Sort(written)
	if diff := cmp.Diff(written, documented); diff != "" {
		t.Errorf("(-written +documented):\n%s", diff)
	}
}

// fields are the JSON names of a struct's fields, with those of structs in it.
func fields(of reflect.Type, group string) []string {
	var names []string
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		inner := of.Field(i).Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner.PkgPath() == of.PkgPath() {
			names = append(names, fields(inner, name+".")...)
		} else {
			names = append(names, group+name)
		}
	}
	return names
}
