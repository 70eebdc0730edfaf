package policy

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// In a compiled pattern the wildcards are bytes that UTF-8 never contains, so
// that a literal * or ? (from an escape or from the value of a variable) stays
// literal.
const (
	star = '\xff' // any sequence, empty too; crosses / and :
	any1 = '\xfe' // one UTF-16 unit
)

// wildcards compiles * and ?.
var wildcards = strings.NewReplacer("*", string([]byte{star}), "?", string([]byte{any1}))

// glob reports whether the compiled pattern matches all of s. After a mismatch it
// goes on at the last star and never at one before, so that the steps are at most
// len(pattern) times len(s) however many stars there are: 0.7 s for a star and
// 10 KiB of one letter against 64 KiB of it, 0.1 ms for 10 KiB of *a*a*a….
func glob(pattern, s string) bool {
	if strings.IndexByte(pattern, any1) >= 0 && !ascii(s) {
		return globUnits(units(pattern), units(s))
	}
	return globBytes(pattern, s, false)
}

// globFold is glob for an ASCII pattern in lower case, ignoring the ASCII case of s.
func globFold(pattern, s string) bool { return globBytes(pattern, s, true) }

func globBytes(pattern, s string, fold bool) bool {
	p, i := 0, 0
	back, mark := -1, 0 // where to go on after the last star
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == star:
			back, mark = p, i
			p++
			continue
		case p < len(pattern) && (pattern[p] == any1 || pattern[p] == s[i] || fold && pattern[p] == lower(s[i])):
			p++
			i++
			continue
		case back < 0:
			return false
		}
		mark++
		p, i = back+1, mark
	}
	for p < len(pattern) && pattern[p] == star {
		p++
	}
	return p == len(pattern)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

const (
	unitStar = -1
	unitAny  = -2
)

// units is the UTF-16 form of s with the wildcards of a compiled pattern.
func units(s string) []int32 {
	out := make([]int32, 0, len(s))
	for i := 0; i < len(s); {
		switch s[i] {
		case star:
			out = append(out, unitStar)
			i++
			continue
		case any1:
			out = append(out, unitAny)
			i++
			continue
		}
		c, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if a, b := utf16.EncodeRune(c); a != utf8.RuneError {
			out = append(out, a, b)
		} else {
			out = append(out, c)
		}
	}
	return out
}

func globUnits(pattern, s []int32) bool {
	p, i := 0, 0
	back, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == unitStar:
			back, mark = p, i
			p++
			continue
		case p < len(pattern) && (pattern[p] == unitAny || pattern[p] == s[i]):
			p++
			i++
			continue
		case back < 0:
			return false
		}
		mark++
		p, i = back+1, mark
	}
	for p < len(pattern) && pattern[p] == unitStar {
		p++
	}
	return p == len(pattern)
}
