package injection

import (
	"fmt"
	"unicode/utf8"
)

// What the API server carries to a client at least
// (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#response).
const (
	maxWarnings = 10
	maxWarning  = 256
)

// warnings are texts for whoever creates a pod, in bounds.
type warnings struct {
	kept []string
	more int
}

func (w *warnings) add(format string, args ...any) {
	if len(w.kept) == maxWarnings-1 {
		w.more++
		return
	}
	w.kept = append(w.kept, cut("podid: "+fmt.Sprintf(format, args...)))
}

func (w *warnings) texts() []string {
	if w.more == 0 {
		return w.kept
	}
	return append(w.kept[:len(w.kept):len(w.kept)], fmt.Sprintf("podid: and %d more", w.more))
}

func cut(s string) string {
	const dots = "…"
	if len(s) <= maxWarning {
		return s
	}
	end := maxWarning - len(dots)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + dots
}
