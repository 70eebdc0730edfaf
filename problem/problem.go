// Package problem is what podid says when the answer is no: an error that a
// person can act on. Every problem has a code from the catalogue (codes.go),
// what happened, why, and how to fix it; every edge (HTTP, agent, terminal)
// has one table that maps codes to its own terms.
package problem

import (
	"errors"
	"fmt"
	"strings"
)

// Code names a kind of problem: a slug that is stable across releases, labels
// metrics, and has a page in docs/problems.
type Code string

// Problem is an error with a cause and a cure. What, Why and Fix may be shown
// to the workload that asked; Err never is.
type Problem struct {
	Code Code
	// What happened, with the facts of this case.
	What string
	// Why it happened; the catalogue's general reason unless the case knows better.
	Why string
	// Fix says what to do; the catalogue's unless the case knows better.
	Fix string
	// Err is the underlying error, for logs and for errors.Is.
	Err error
}

// New returns a problem that takes its Why and Fix from the catalogue.
func New(code Code, format string, args ...any) *Problem {
	entry := Lookup(code)
	return &Problem{Code: code, What: fmt.Sprintf(format, args...), Why: entry.Why, Fix: entry.Fix}
}

// Because replaces the catalogue's reason by that of this case.
func (p *Problem) Because(format string, args ...any) *Problem {
	p.Why = fmt.Sprintf(format, args...)
	return p
}

// Fixed replaces the catalogue's fix by that of this case.
func (p *Problem) Fixed(format string, args ...any) *Problem {
	p.Fix = fmt.Sprintf(format, args...)
	return p
}

// From attaches the underlying error.
func (p *Problem) From(err error) *Problem {
	p.Err = err
	return p
}

// Error is the whole problem with its underlying error: for logs and terminals.
func (p *Problem) Error() string {
	if p.Err == nil {
		return string(p.Code) + ": " + p.Message()
	}
	return string(p.Code) + ": " + p.Message() + " (" + p.Err.Error() + ")"
}

// Message is what may be shown to the workload: what, why and fix in sentences,
// without the underlying error.
func (p *Problem) Message() string {
	s := sentence(p.What)
	if p.Why != "" {
		s += " " + sentence(p.Why)
	}
	if p.Fix != "" {
		s += " Fix: " + period(p.Fix)
	}
	return s
}

// Unwrap gives errors.Is and errors.As the underlying error.
func (p *Problem) Unwrap() error { return p.Err }

// Of finds the problem in err. An error that carries none becomes [Internal],
// with err kept for the log and stripped from the message. Of(nil) is nil.
func Of(err error) *Problem {
	if err == nil {
		return nil
	}
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	return New(Internal, "podid could not answer").From(err)
}

// Is reports whether err carries a problem of this code.
func Is(err error, code Code) bool {
	var p *Problem
	return errors.As(err, &p) && p.Code == code
}

// sentence starts a text with a capital, unless its first word is a name such as
// sts:TagSession or podid, and ends it with a full stop.
func sentence(s string) string {
	word, _, _ := strings.Cut(s, " ")
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyz") == "" && s != "" && word != "podid" {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	return period(s)
}

func period(s string) string {
	if s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}
