package injection

import (
	"encoding/json"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// operation is one of RFC 6902; the only one needed is "add".
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// patch is the JSONPatch that makes after, which Inject made, of before: it
// names what was added and nothing else, so what this program does not know of
// a pod stays as it is.
func patch(before, after *corev1.Pod) ([]byte, error) {
	var ops []operation
	if value, ok := after.Labels[InjectedLabel]; ok && before.Labels[InjectedLabel] != value {
		if len(before.Labels) == 0 {
			ops = append(ops, operation{"add", "/metadata/labels", map[string]string{InjectedLabel: value}})
		} else {
			ops = append(ops, operation{"add", "/metadata/labels/" + pointer(InjectedLabel), value})
		}
	}
	ops = appended(ops, "/spec/volumes", before.Spec.Volumes, after.Spec.Volumes)
	for _, list := range []struct {
		path          string
		before, after []corev1.Container
	}{
		{"/spec/initContainers/", before.Spec.InitContainers, after.Spec.InitContainers},
		{"/spec/containers/", before.Spec.Containers, after.Spec.Containers},
	} {
		for i := range list.before {
			path := list.path + strconv.Itoa(i)
			ops = appended(ops, path+"/env", list.before[i].Env, list.after[i].Env)
			ops = appended(ops, path+"/volumeMounts", list.before[i].VolumeMounts, list.after[i].VolumeMounts)
		}
	}
	return json.Marshal(ops)
}

// appended adds what a list got at its end. "/-" needs a list that is there.
func appended[T any](ops []operation, path string, before, after []T) []operation {
	added := after[len(before):]
	if len(before) == 0 && len(added) > 0 {
		return append(ops, operation{"add", path, added})
	}
	for _, one := range added {
		ops = append(ops, operation{"add", path + "/-", one})
	}
	return ops
}

// pointer escapes a key for a JSON pointer (RFC 6901).
func pointer(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
