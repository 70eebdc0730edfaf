package problem_test

import (
	"errors"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/problem"
)

func TestEveryCodeHasAMeaningAWhyAndAFix(t *testing.T) {
	slug := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for _, code := range problem.Codes() {
		e := problem.Lookup(code)
		if e.Code != code || !slug.MatchString(string(code)) {
			t.Errorf("%q is not a slug of the catalogue", code)
		}
		for _, text := range []string{e.Title, e.Why, e.Fix} {
			if text == "" || strings.HasSuffix(text, ".") {
				t.Errorf("%s: %q is empty or ends in a full stop (Message adds it)", code, text)
			}
		}
	}
}

func TestAMessageNeverShowsTheUnderlyingError(t *testing.T) {
	p := problem.New(problem.STSUnavailable, "STS at %s does not answer", "sts.example").From(errors.New("dial 10.0.0.1: secret"))
	if strings.Contains(p.Message(), "secret") {
		t.Errorf("the message shows the underlying error: %s", p.Message())
	}
	if !strings.Contains(p.Error(), "secret") {
		t.Errorf("the log's text lacks the underlying error: %s", p.Error())
	}
}

func TestAnErrorWithoutAProblemIsInternalAndStripped(t *testing.T) {
	p := problem.Of(io.ErrUnexpectedEOF)
	if p.Code != problem.Internal || strings.Contains(p.Message(), "EOF") || !errors.Is(p, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", p)
	}
	if problem.Of(nil) != nil {
		t.Error("no error became a problem")
	}
}

func TestAProblemIsFoundThroughWrapping(t *testing.T) {
	err := errors.Join(io.EOF, problem.New(problem.PodGone, "pod x is gone"))
	if !problem.Is(err, problem.PodGone) || problem.Is(err, problem.PodFinished) {
		t.Errorf("got %v", problem.Of(err))
	}
}

func TestAnUnknownCodeIsTreatedAsInternal(t *testing.T) {
	if got := problem.Lookup("no-such-code"); got.Code != problem.Internal || problem.Known("no-such-code") {
		t.Errorf("got %v", got)
	}
}

func TestASentenceBeginsWithACapitalUnlessItBeginsWithAName(t *testing.T) {
	for text, want := range map[string]string{
		"the pod is gone":                  "The pod is gone.",
		"podid answers pods":               "podid answers pods.",
		"podid's own credentials":          "podid's own credentials.",
		"podid-auth does not answer":       "podid-auth does not answer.",
		"sts:TagSession is not allowed":    "sts:TagSession is not allowed.",
		"does the role exist?":             "Does the role exist?",
		"No cluster found for name: prod.": "No cluster found for name: prod.",
	} {
		if got := problem.New(problem.Internal, "%s", text).Because("").Fixed("").Message(); got != want {
			t.Errorf("%q became %q, not %q", text, got, want)
		}
	}
}

func TestALogLineHasTheCauseAndTheLevelOfTheProblem(t *testing.T) {
	var none *problem.Problem
	for want, p := range map[string]*problem.Problem{
		"level=INFO msg=x": none,
		`level=WARN msg=x code=pod-gone what="no pod" cause="not found"`: problem.New(problem.PodGone, "no pod").From(errors.New("not found")),
		`level=ERROR msg=x code=internal what=oops`:                      problem.New(problem.Internal, "oops"),
	} {
		var line strings.Builder
		log := slog.New(slog.NewTextHandler(&line, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		log.LogAttrs(t.Context(), p.Level(), "x", p.Attrs()...)
		if got := strings.TrimSpace(line.String()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
