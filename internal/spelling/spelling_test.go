package spelling_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/openpodidentity/podid/internal/spelling"
)

func TestDistanceCountsChanges(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"trust-tag-session", "trust-tag-session", 0},
		{"trust-tags-session", "trust-tag-session", 1},
		{"kitten", "sitting", 3},
	} {
		if got := spelling.Distance(c.a, c.b); got != c.want {
			t.Errorf("from %q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestDistanceIsADistance(t *testing.T) {
	word := rapid.StringOfN(rapid.SampledFrom([]rune("abc")), 0, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "c")
		ab := spelling.Distance(a, b)
		if ab != spelling.Distance(b, a) || (ab == 0) != (a == b) || spelling.Distance(a, c) > ab+spelling.Distance(b, c) {
			t.Fatalf("from %q to %q: %d", a, b, ab)
		}
	})
}
