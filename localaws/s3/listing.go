package s3

import (
	"slices"
	"strings"
)

// listing is a question about sorted keys: those with the prefix, the ones that
// have the delimiter after it rolled up into common prefixes, from the first
// entry after After, at most Max of them.
type listing struct {
	Prefix    string
	Delimiter string // empty for none
	After     string // a key or a common prefix
	Max       int
}

// page is the answer. Objects and Prefixes are each in order; Last is the last
// entry of both, After of the next page when Truncated.
type page struct {
	Objects   []string
	Prefixes  []string
	Truncated bool
	Last      string
}

// of answers from keys, which are sorted. Whole common prefixes are skipped by
// binary search, so the time depends on the page and not on what is rolled up.
func (l listing) of(keys []string) (p page) {
	i, found := slices.BinarySearch(keys, max(l.Prefix, l.After))
	if found && keys[i] == l.After {
		i++
	}
	// A common prefix that is not after After was on an earlier page, with all
	// that is rolled up in it.
	if rolled, ok := l.roll(l.After); ok {
		i = max(i, end(keys, rolled))
	}
	for n := 0; i < len(keys) && strings.HasPrefix(keys[i], l.Prefix) && l.Max > 0; n++ {
		if n == l.Max {
			p.Truncated = true
			break
		}
		if rolled, ok := l.roll(keys[i]); ok {
			p.Prefixes = append(p.Prefixes, rolled)
			p.Last = rolled
			i += end(keys[i:], rolled)
			continue
		}
		p.Objects = append(p.Objects, keys[i])
		p.Last = keys[i]
		i++
	}
	return p
}

// roll is the common prefix that key is rolled up into.
func (l listing) roll(key string) (string, bool) {
	rest, ok := strings.CutPrefix(key, l.Prefix)
	if !ok || l.Delimiter == "" {
		return "", false
	}
	i := strings.Index(rest, l.Delimiter)
	if i < 0 {
		return "", false
	}
	return key[:len(l.Prefix)+i+len(l.Delimiter)], true
}

// end is the index of the first of the sorted keys after those with the prefix.
func end(keys []string, prefix string) int {
	i, _ := slices.BinarySearchFunc(keys, prefix, func(key, prefix string) int {
		if strings.HasPrefix(key, prefix) {
			return -1
		}
		return strings.Compare(key, prefix)
	})
	return i
}
