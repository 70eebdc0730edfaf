package install

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Difference is a field that changes. Values are JSON; empty is none.
type Difference struct {
	Field string `json:"field"`
	Old   string `json:"old,omitempty"`
	New   string `json:"new,omitempty"`
}

// Diff is what differs between two states of an object, but for what the API server
// counts and keeps books of.
func Diff(before, after *unstructured.Unstructured) []Difference {
	var found []Difference
	diff("", bookless(before), bookless(after), &found)
	return found
}

func bookless(o *unstructured.Unstructured) map[string]any {
	o = o.DeepCopy()
	for _, field := range [][]string{
		{"metadata", "managedFields"}, {"metadata", "resourceVersion"}, {"metadata", "generation"},
		{"metadata", "uid"}, {"metadata", "creationTimestamp"}, {"status"},
	} {
		unstructured.RemoveNestedField(o.Object, field...)
	}
	return o.Object
}

func diff(path string, before, after any, found *[]Difference) {
	if reflect.DeepEqual(before, after) {
		return
	}
	a, aIsMap := before.(map[string]any)
	b, bIsMap := after.(map[string]any)
	if aIsMap && bIsMap {
		keys := slices.Sorted(maps.Keys(a))
		for key := range b {
			if _, both := a[key]; !both {
				keys = append(keys, key)
			}
		}
		slices.Sort(keys)
		for _, key := range keys {
			diff(path+"."+key, a[key], b[key], found)
		}
		return
	}
	list, aIsList := before.([]any)
	other, bIsList := after.([]any)
	if aIsList && bIsList && len(list) == len(other) {
		for i := range list {
			diff(fmt.Sprintf("%s[%s]", path, element(list[i], i)), list[i], other[i], found)
		}
		return
	}
	*found = append(*found, Difference{Field: path[min(1, len(path)):], Old: text(before), New: text(after)})
}

// element names an element of a list: by its name, where it has one.
func element(of any, i int) string {
	facts, _ := of.(map[string]any)
	name, _ := facts["name"].(string)
	return cmp.Or(name, fmt.Sprint(i))
}

func text(value any) string {
	if value == nil {
		return ""
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(encoded)
}
