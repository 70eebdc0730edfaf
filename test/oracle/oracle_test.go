// Package oracle_test compares package policy with an independent simulator of
// IAM, npm's @cloud-copilot/iam-simulate, on generated questions. The simulator
// runs in a process of its own: it is compared with, never linked or shipped.
//
// Which of two answers is right, AWS's documentation decides. Where it is not the
// simulator's, or leaves it open, the difference has an entry in explained, and a
// row in docs/compatibility.md.
package oracle_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/openpodidentity/podid/policy"
)

var (
	seedFlag  = flag.Uint64("seed", 1, "seed of the generated cases; 0 draws one")
	casesFlag = flag.Int("cases", 20000, "how many cases to compare")
	caseFlag  = flag.Int64("case", -1, "compare this case of the seed alone, and show it")
)

// maxRefused is how many cases either may refuse for each that both answer.
const maxRefused = 0.01

func compareWith(t *testing.T) *comparison {
	return &comparison{T: t, simulator: start(t), seed: *seedFlag, explained: map[string]int{}, refused: map[string]int{}, counts: newCounts()}
}

func TestTheEngineAgreesWithAnIndependentSimulator(t *testing.T) {
	c := compareWith(t)
	if c.seed == 0 {
		c.seed = rand.Uint64()>>33 + 1
	}
	t.Logf("seed %d", c.seed)
	if *caseFlag >= 0 {
		c.show(uint64(*caseFlag))
		return
	}
	const batch = 500
	for n := uint64(0); c.compared < *casesFlag; n += batch {
		questions := make([]*question, batch)
		for i := range questions {
			questions[i] = generate(c.seed, n+uint64(i))
		}
		for i, a := range c.simulator.ask(questions...) {
			c.compare(n+uint64(i), questions[i], a)
			if c.unexplained >= 5 {
				t.FailNow()
			}
		}
		if c.simulator.failed != nil {
			t.Fatal(c.simulator.failed)
		}
	}
	c.report()
}

// TestRareDifferencesStillOccur shows each difference that a run need not meet.
func TestRareDifferencesStillOccur(t *testing.T) {
	c := compareWith(t)
	for _, d := range explained {
		if d.rare == "" {
			continue
		}
		var q question
		if err := json.Unmarshal([]byte(d.rare), &q); err != nil {
			t.Fatalf("%s: %v", d.slug, err)
		}
		ours, differs := c.differs(&q)
		if reasons := c.explain(&q, ours); !differs || !slices.Equal(reasons, []string{d.slug}) {
			t.Errorf("%s: differs %t, explained by %q\n%s", d.slug, differs, reasons, c.both(&q))
		}
	}
	if c.simulator.failed != nil {
		t.Fatal(c.simulator.failed)
	}
}

// TestEveryExplainedDifferenceIsDocumented keeps the table of the document and
// the list of the code the same.
func TestEveryExplainedDifferenceIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(data), "\n### Compared with an independent simulator\n")
	if !found {
		t.Fatal("docs/compatibility.md has no section about the simulator")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\|.*$").FindAllStringSubmatch(section, -1) {
		documented = append(documented, row[1])
		i := slices.IndexFunc(explained, func(d difference) bool { return d.slug == row[1] })
		switch {
		case i < 0:
			t.Errorf("%s is documented and explains nothing", row[1])
		case !strings.Contains(row[0], "("+explained[i].source+")"):
			t.Errorf("the row of %s does not link to %s", row[1], explained[i].source)
		}
	}
	for _, d := range explained {
		if !slices.Contains(documented, d.slug) {
			t.Errorf("%s is not documented: | `%s` | %s | [AWS](%s) |", d.slug, d.slug, d.why, d.source)
		}
	}
}

// TestOtherWordsOfTheSameMeaningGetTheSameAnswer is about package policy alone:
// where it agreed with the simulator by mistake, no difference would tell.
func TestOtherWordsOfTheSameMeaningGetTheSameAnswer(t *testing.T) {
	tried := map[string]int{}
	for n := range uint64(4000) {
		q := generate(*seedFlag, n)
		ours, _, err := q.decide()
		if err != nil {
			continue // see maxRefused
		}
		for _, d := range explained {
			r := q.clone()
			if !d.rewrite(r) {
				continue
			}
			tried[d.slug]++
			if v, decision, err := r.decide(); err != nil || v != ours {
				t.Fatalf("case %d, %s: %s\n%s\nand %s %v\n%s\n%s", n, d.slug, ours, marshal(q), v, err, marshal(r), decision.Explain())
			}
		}
	}
	for _, d := range explained {
		if tried[d.slug] == 0 && d.rare == "" {
			t.Errorf("no case has other words for %s", d.slug)
		}
	}
}

// TestCasesFollowFromSeedAndNumber is what makes a difference reproducible.
func TestCasesFollowFromSeedAndNumber(t *testing.T) {
	for n := range uint64(200) {
		if a, b := marshal(generate(7, n)), marshal(generate(7, n).clone()); !bytes.Equal(a, b) {
			t.Fatalf("case %d is\n%s\nand\n%s", n, a, b)
		}
	}
}

// comparison is one run.
type comparison struct {
	*testing.T
	simulator   *simulator
	seed        uint64
	compared    int
	refused     map[string]int
	unexplained int
	differences int
	explained   map[string]int
	counts      *counts
}

func (c *comparison) compare(n uint64, q *question, a answer) {
	if a.Err != "" {
		c.refused[q.Action+": "+a.Err]++
		return
	}
	c.forget(q, a)
	ours, _, err := q.decide()
	if err != nil {
		c.refused[err.Error()]++
		return
	}
	c.compared++
	c.counts.add(q, ours)
	if ours == a.verdict() {
		return
	}
	c.differences++
	if reasons := c.explain(q, ours); reasons != nil {
		for _, slug := range reasons {
			c.explained[slug]++
		}
		return
	}
	c.unexplained++
	small := shrink(q, 600, c.unexplainedDifference)
	c.Errorf("case %d differs, and nothing explains it:\n%s\ngo test ./test/oracle -v -run Simulator -seed %d -case %d", n, c.both(small), c.seed, n)
}

// forget leaves out the keys that do not apply to the action: the simulator
// does not pass them on. The keys that cast adds apply to all.
func (c *comparison) forget(q *question, a answer) {
	for _, key := range a.Ignored {
		if _, ok := q.Keys[key]; !ok {
			c.Fatalf("the simulator ignores %s", key)
		}
		delete(q.Keys, key)
	}
}

// differs asks both; it is false if one of them does not answer.
func (c *comparison) differs(q *question) (ours verdict, differs bool) {
	ours, _, err := q.decide()
	if err != nil {
		return "", false
	}
	a := c.simulator.ask(q)[0]
	return ours, a.Err == "" && a.verdict() != "" && a.verdict() != ours
}

func (c *comparison) unexplainedDifference(q *question) bool {
	ours, differs := c.differs(q)
	return differs && c.explain(q, ours) == nil
}

// explain finds the explanations that together make the simulator agree: each
// rewrites what the simulator is known to see differently into words that mean
// the same to AWS, so that our own answer must stay as it is.
func (c *comparison) explain(q *question, ours verdict) []string {
	agree := func(of []difference) bool {
		r := q.clone()
		for _, d := range of {
			d.rewrite(r)
		}
		v, _, err := r.decide()
		if err != nil || v != ours {
			return false
		}
		a := c.simulator.ask(r)[0]
		return a.Err == "" && a.verdict() == ours
	}
	var candidates []difference
	for _, d := range explained {
		if d.rewrite(q.clone()) {
			candidates = append(candidates, d)
		}
	}
	if len(candidates) == 0 || !agree(candidates) {
		// One that is not needed may be in the way of the others.
		for _, d := range candidates {
			if agree([]difference{d}) {
				return []string{d.slug}
			}
		}
		return nil
	}
	for i := len(candidates) - 1; i >= 0 && len(candidates) > 1; i-- {
		if without := slices.Delete(slices.Clone(candidates), i, i+1); agree(without) {
			candidates = without
		}
	}
	slugs := make([]string, len(candidates))
	for i, d := range candidates {
		slugs[i] = d.slug
	}
	return slugs
}

// both is a question with both answers, for a person.
func (c *comparison) both(q *question) string {
	ours, decision, err := q.decide()
	if err != nil {
		return err.Error()
	}
	a := c.simulator.ask(q)[0]
	return fmt.Sprintf("%s\npodid: %s\nsimulator: %s%s\n%s", marshal(q), ours, a.verdict(), a.Err, decision.Explain())
}

func (c *comparison) show(n uint64) {
	q := generate(c.seed, n)
	a := c.simulator.ask(q)[0]
	if a.Err == "" {
		c.forget(q, a)
	}
	c.Logf("case %d\n%s", n, c.both(q))
	if ours, differs := c.differs(q); differs {
		reasons := c.explain(q, ours)
		if reasons == nil {
			c.Errorf("nothing explains it:\n%s", c.both(shrink(q, 600, c.unexplainedDifference)))
		}
		c.Logf("explained by %s", strings.Join(reasons, ", "))
	}
}

func (c *comparison) report() {
	refused := 0
	for reason, n := range c.refused {
		refused += n
		c.Logf("refused %d: %s", n, reason)
	}
	c.Logf("%d compared, %d refused, %d differ, %d questions asked", c.compared, refused, c.differences, c.simulator.asked)
	if float64(refused) > maxRefused*float64(c.compared) {
		c.Errorf("%d cases are refused: %v", refused, c.refused)
	}
	c.counts.report(c)
	for _, d := range explained {
		c.Logf("%6d  %s", c.explained[d.slug], d.slug)
		if c.explained[d.slug] == 0 && d.rare == "" && c.compared >= 20000 {
			c.Errorf("%s is stale: no case shows it", d.slug)
		}
	}
}

// counts is what the cases were about.
type counts struct {
	verdicts map[verdict]int
	types    map[string]int
	features map[string]int
	probes   map[string]outcomes // by operator
}

// outcomes are how often a condition held, and how often it did not.
type outcomes struct{ held, failed int }

func newCounts() *counts {
	return &counts{map[verdict]int{}, map[string]int{}, map[string]int{}, map[string]outcomes{}}
}

func (k *counts) add(q *question, v verdict) {
	k.verdicts[v]++
	k.features["principal: "+q.Principal]++
	k.features["service: "+q.Action[:strings.Index(q.Action, ":")]]++
	if q.Account == home {
		k.types["same account"]++
	} else {
		k.types["another account"]++
	}
	seen := map[string]bool{}
	q.each(func(t policy.Type, doc *document) {
		seen[t.String()] = true
		for _, s := range doc.Statement {
			text := string(marshal(s))
			for _, word := range []string{"NotAction", "NotResource", "NotPrincipal", "Deny", "${", "${*}", ", '", "IfExists", "ForAllValues:", "ForAnyValue:"} {
				if strings.Contains(text, word) {
					k.features["with "+word]++
				}
			}
		}
		if doc.Version != "2012-10-17" {
			k.features["version 2008-10-17"]++
		}
	})
	for name := range seen {
		k.types[name]++
	}
	if q.probe != "" {
		_, operator := qualifiers(q.probe)
		n := k.probes[operator]
		if v == allowed {
			n.held++
		} else {
			n.failed++
		}
		k.probes[operator] = n
	}
}

// report prints the counts, and fails if a class is under a twentieth.
func (k *counts) report(c *comparison) {
	table := func(name string, counts map[string]int, least float64) {
		for _, class := range sorted(counts) {
			c.Logf("%6d  %s", counts[class], class)
			if float64(counts[class]) < least*float64(c.compared) {
				c.Errorf("only %d of %d cases are of class %s", counts[class], c.compared, class)
			}
		}
	}
	verdicts := map[string]int{}
	for v, n := range k.verdicts {
		verdicts[string(v)] = n
	}
	table("verdict", verdicts, 0.05)
	table("policies", k.types, 0.05)
	table("features", k.features, 0.005)
	for _, operator := range operators {
		n := k.probes[operator]
		c.Logf("%6d  %s: held %d times, failed %d times", n.held+n.failed, operator, n.held, n.failed)
		if min(n.held, n.failed) < c.compared/2000 {
			c.Errorf("%s hardly ever decides", operator)
		}
	}
}
