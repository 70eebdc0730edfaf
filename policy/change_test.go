package policy_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/openpodidentity/podid/policy"
)

// tester is a test, or a draw of rapid's.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func parsed(t tester, kind policy.Type, name, document string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse(kind, name, []byte(document))
	if err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	return p
}

// paper is a document that changes are written into, as a person would.
type paper struct {
	kind       policy.Type
	level      int // of a service control policy, from 1
	name       string
	version    string
	statements []map[string]any // nil for one that was removed
}

func (p *paper) clone() *paper {
	other := *p
	other.statements = nil
	for _, s := range p.statements {
		var copied map[string]any
		text, _ := json.Marshal(s)
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		_ = decoder.Decode(&copied)
		other.statements = append(other.statements, copied)
	}
	return &other
}

// desk is every document that applies, and the request.
type desk struct {
	req    policy.Request
	papers []*paper
	empty  map[policy.Type]bool // limits without a document
	levels int
}

func newDesk(req policy.Request, o organization) *desk {
	d := &desk{req: req, levels: len(o.scp), empty: map[policy.Type]bool{}}
	put := func(kind policy.Type, level int, documents []map[string]any) {
		for i, one := range documents {
			p := &paper{kind: kind, level: level, name: fmt.Sprintf("%s %d.%d", kind, level, i), version: "2008-10-17"}
			if v, ok := one["Version"].(string); ok {
				p.version = v
			}
			p.statements = one["Statement"].([]map[string]any)
			d.papers = append(d.papers, p.clone())
		}
		if documents != nil && len(documents) == 0 {
			d.empty[kind] = true
		}
	}
	put(policy.Identity, 0, o.identity)
	put(policy.Resource, 0, o.resource)
	put(policy.Trust, 0, o.trust)
	put(policy.Boundary, 0, o.boundary)
	put(policy.Session, 0, o.session)
	put(policy.ResourceControl, 0, o.rcp)
	for i, level := range o.scp {
		put(policy.ServiceControl, i+1, level)
	}
	return d
}

// desk is the question of the corpus, on paper.
func (c *decision) desk(t *testing.T) *desk {
	t.Helper()
	req, _ := c.question(t)
	documents := func(statements json.RawMessage) []map[string]any {
		if statements == nil {
			return nil
		}
		var list []map[string]any
		if statements[0] != '[' {
			statements = slices.Concat([]byte("["), statements, []byte("]"))
		}
		decoder := json.NewDecoder(bytes.NewReader(statements))
		decoder.UseNumber()
		if err := decoder.Decode(&list); err != nil {
			t.Fatal(err)
		}
		return []map[string]any{{"Version": cmp.Or(c.Version, "2012-10-17"), "Statement": list}}
	}
	identity := c.Identity
	if c.Condition != nil {
		identity = json.RawMessage(`[{"Effect":"Allow","Action":"*","Resource":"*","Condition":` + string(c.Condition) + `}]`)
	}
	o := organization{
		identity: documents(identity), resource: documents(c.ResourcePolicy), trust: documents(c.Trust),
		boundary: documents(c.Boundary), session: documents(c.Session), rcp: documents(c.RCP),
	}
	for _, level := range levels(c.SCP) {
		o.scp = append(o.scp, documents(level))
	}
	return newDesk(req, o)
}

func (d *desk) clone() *desk {
	other := *d
	other.req.Keys = maps.Clone(d.req.Keys)
	other.papers = nil
	for _, p := range d.papers {
		other.papers = append(other.papers, p.clone())
	}
	return &other
}

func (d *desk) evaluate(t tester) policy.Decision {
	t.Helper()
	set := policy.Set{ServiceControl: make([][]*policy.Policy, d.levels)}
	if d.levels == 0 {
		set.ServiceControl = nil
	}
	lists := map[policy.Type]*[]*policy.Policy{
		policy.Identity: &set.Identity, policy.Resource: &set.Resource, policy.Trust: &set.Resource, policy.Boundary: &set.Boundary,
		policy.Session: &set.Session, policy.ResourceControl: &set.ResourceControl,
	}
	for kind := range d.empty {
		*lists[kind] = []*policy.Policy{}
	}
	for _, p := range d.papers {
		statements := slices.DeleteFunc(slices.Clone(p.statements), func(s map[string]any) bool { return s == nil })
		if statements == nil {
			statements = []map[string]any{}
		}
		text, err := json.Marshal(map[string]any{"Version": p.version, "Statement": statements})
		if err != nil {
			t.Fatal(err)
		}
		one := parsed(t, p.kind, p.name, string(text))
		list := lists[p.kind]
		if p.kind == policy.ServiceControl {
			for len(set.ServiceControl) < p.level {
				set.ServiceControl = append(set.ServiceControl, nil)
			}
			list = &set.ServiceControl[p.level-1]
		}
		*list = append(*list, one)
	}
	return policy.Evaluate(d.req, set)
}

// apply writes the change; for a change to the request, once for every value that
// would do.
func (d *desk) apply(t tester, ch policy.Change) (after []*desk) {
	t.Helper()
	switch ch.Do {
	case policy.SetKey:
		for _, value := range valuesFor(t, d.req, ch) {
			other := d.clone()
			if other.req.Keys == nil {
				other.req.Keys = policy.Keys{}
			}
			maps.DeleteFunc(other.req.Keys, func(name string, _ []string) bool { return strings.EqualFold(name, ch.Key) })
			if value != nil {
				other.req.Keys[ch.Key] = value
			}
			after = append(after, other)
		}
		return after
	case policy.SetResource:
		for _, pattern := range ch.Values {
			other := d.clone()
			other.req.Resource = plain.Replace(wild.Replace(d.expand(pattern)))
			after = append(after, other)
		}
		return after
	case policy.SignRequest:
		return d.apply(t, *ch.Instead)
	}
	other := d.clone()
	other.write(t, ch)
	return []*desk{other}
}

func (d *desk) write(t tester, ch policy.Change) {
	t.Helper()
	var kind policy.Type
	if err := kind.UnmarshalText([]byte(ch.Type)); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(d.papers, func(p *paper) bool { return p.kind == kind && p.name == ch.Policy && p.level == ch.Level })
	if i < 0 && ch.Do == policy.AddStatement && ch.Policy == "" {
		i = len(d.papers)
		d.papers = append(d.papers, &paper{kind: kind, level: ch.Level, name: "new", version: "2012-10-17"})
		d.levels = max(d.levels, ch.Level)
	}
	if i < 0 {
		t.Fatalf("no policy %q for %+v", ch.Policy, ch)
	}
	p := d.papers[i]
	switch ch.Do {
	case policy.SetVersion:
		p.version = ch.With
		return
	case policy.AddStatement:
		var s map[string]any
		if err := json.Unmarshal(ch.Add, &s); err != nil {
			t.Fatal(err)
		}
		p.statements = append(p.statements, s)
		return
	case policy.RemoveStatement:
		p.statements[ch.Statement-1] = nil
		return
	}
	s := p.statements[ch.Statement-1]
	if s == nil {
		t.Fatalf("%+v is about a statement that was removed", ch)
	}
	switch ch.Do {
	case policy.AddValue:
		switch ch.Clause {
		case "Condition":
			block, key := condition(t, s, ch)
			block[key] = append(list(block[key]), toAny(ch.Values)...)
		case "Principal":
			var add map[string]string
			if err := json.Unmarshal(ch.Add, &add); err != nil {
				t.Fatal(err)
			}
			principals, ok := s["Principal"].(map[string]any)
			if !ok {
				t.Fatalf("%+v of %v", ch, s)
			}
			for k, v := range add {
				principals[k] = append(list(principals[k]), v)
			}
		default:
			if _, ok := s[ch.Clause]; !ok {
				t.Fatalf("%+v of %v", ch, s)
			}
			s[ch.Clause] = append(list(s[ch.Clause]), toAny(ch.Values)...)
		}
	case policy.ReplaceValue:
		block, key := condition(t, s, ch)
		block[key] = toAny(ch.Values)
	case policy.RemoveCondition:
		block, key := condition(t, s, ch)
		delete(block, key)
	case policy.ReplaceKey:
		block, key := condition(t, s, ch)
		if _, taken := block[ch.With]; taken {
			t.Fatalf("%+v would replace another condition of %v", ch, s)
		}
		block[ch.With] = block[key]
		delete(block, key)
	case policy.ReplaceOperator:
		block, key := condition(t, s, ch)
		all := s["Condition"].(map[string]any)
		with, ok := all[ch.With].(map[string]any)
		if !ok {
			with = map[string]any{}
			all[ch.With] = with
		}
		if _, taken := with[key]; taken {
			t.Fatalf("%+v would replace another condition of %v", ch, s)
		}
		with[key] = block[key]
		delete(block, key)
	default:
		t.Fatalf("no change %q", ch.Do)
	}
}

// condition is the block of the change's operator, and its key as written.
func condition(t tester, s map[string]any, ch policy.Change) (map[string]any, string) {
	t.Helper()
	blocks, _ := s["Condition"].(map[string]any)
	block, ok := blocks[ch.Operator].(map[string]any)
	if !ok {
		t.Fatalf("no condition for %+v in %v", ch, s)
	}
	if _, ok := block[ch.Key]; !ok {
		t.Fatalf("no condition for %+v in %v", ch, s)
	}
	return block, ch.Key
}

func list(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case nil:
		return nil
	}
	return []any{v}
}

func toAny(list []string) (out []any) {
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

var (
	wild     = strings.NewReplacer("${*}", "\x01", "${?}", "\x02", "${$}", "$", "*", "x", "?", "x", "\x01", "*", "\x02", "?")
	plain    = strings.NewReplacer("${*}", "*", "${?}", "?", "${$}", "$", "\x01", "*", "\x02", "?")
	variable = regexp.MustCompile(`\$\{([^,}*?$]+)(?:, *'([^']*)')?\}`)
)

// expand fills in the variables that the request has keys for.
func (d *desk) expand(value string) string {
	return variable.ReplaceAllStringFunc(value, func(s string) string {
		parts := variable.FindStringSubmatch(s)
		for name, v := range d.req.Keys {
			if strings.EqualFold(name, parts[1]) && len(v) == 1 {
				return v[0]
			}
		}
		if strings.EqualFold(parts[1], "aws:username") {
			return d.req.Principal.ARN[strings.LastIndexByte(d.req.Principal.ARN, '/')+1:]
		}
		return parts[2]
	})
}

// valuesFor are values of the key for which the change's operator holds; nil for
// the key's absence.
func valuesFor(t tester, req policy.Request, ch policy.Change) (fitting [][]string) {
	t.Helper()
	candidates := [][]string{}
	for _, v := range ch.Values {
		v = (&desk{req: req}).expand(v)
		candidates = append(candidates, []string{plain.Replace(v)}, []string{plain.Replace(wild.Replace(v))})
	}
	for _, v := range append(slices.Clone(ch.Values), "x", "true", "false", "0", "198.51.100.7", "2001:db8::7", "arn:aws:y:::y", "2026-03-04T05:06:07Z") {
		candidates = append(candidates, []string{v}, []string{strings.NewReplacer("*", "", "?", "x").Replace(v)}, []string{strings.NewReplacer("*", "x", "?", "x").Replace(v)})
		if n, ok := new(big.Rat).SetString(v); ok && len(v) < 20 {
			candidates = append(candidates, []string{new(big.Rat).Add(n, big.NewRat(1, 1)).RatString()}, []string{new(big.Rat).Sub(n, big.NewRat(1, 1)).RatString()})
		}
		for _, layout := range []string{time.RFC3339, time.DateOnly} {
			if at, err := time.Parse(layout, v); err == nil {
				candidates = append(candidates, []string{at.Add(48 * time.Hour).Format(time.RFC3339)}, []string{at.Add(-48 * time.Hour).Format(time.RFC3339)})
			}
		}
		if address, _, ok := strings.Cut(v, "/"); ok {
			candidates = append(candidates, []string{address})
		}
	}
	candidates = append(candidates, nil)
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": map[string]any{
		"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Condition": map[string]any{ch.Operator: map[string]any{ch.Key: ch.Values}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	asked := parsed(t, policy.Resource, "asked", string(text))
	for _, c := range candidates {
		with := req
		with.ResourceAccount = req.Principal.Account
		with.Keys = maps.Clone(req.Keys)
		if with.Keys == nil {
			with.Keys = policy.Keys{}
		}
		maps.DeleteFunc(with.Keys, func(name string, _ []string) bool { return strings.EqualFold(name, ch.Key) })
		if c != nil {
			with.Keys[ch.Key] = c
		}
		if policy.Evaluate(with, policy.Set{Resource: []*policy.Policy{asked}}).Allowed {
			fitting = append(fitting, c)
		}
	}
	return fitting
}

// allows carries the changes out in order, with some value where there is a choice.
func (d *desk) allows(t tester, changes []policy.Change) bool {
	t.Helper()
	if len(changes) == 0 {
		return d.evaluate(t).Allowed
	}
	return slices.ContainsFunc(d.apply(t, changes[0]), func(after *desk) bool { return after.allows(t, changes[1:]) })
}

// provable checks the promise of Changes: they allow, and so does each change that
// is offered instead of one, with what it then takes.
func provable(t tester, d *desk) {
	t.Helper()
	decision := d.evaluate(t)
	changes := decision.Changes()
	text, _ := json.MarshalIndent(changes, "", " ")
	switch {
	case decision.Allowed != (len(changes) == 0):
		t.Fatalf("allowed %v with %d changes", decision.Allowed, len(changes))
	case decision.Explain() == "" || decision.Allowed != (decision.Fix() == ""):
		t.Fatalf("%q, %q", decision.Explain(), decision.Fix())
	case !d.allows(t, changes):
		t.Fatalf("still denied: %+v\n%s\n%s", d.req, decision.Explain(), text)
	}
	for i, ch := range changes {
		harmless(t, ch)
		if ch.Instead == nil {
			continue
		}
		instead := slices.Concat(changes[:i], []policy.Change{*ch.Instead})
		if !d.reaches(t, instead) {
			t.Fatalf("still denied with change %d's other: %+v\n%s\n%s", i+1, d.req, decision.Explain(), text)
		}
	}
}

// reaches carries the changes out and then what is advised after them.
func (d *desk) reaches(t tester, changes []policy.Change) bool {
	t.Helper()
	if len(changes) == 0 {
		for _, p := range d.papers {
			p.statements = slices.DeleteFunc(p.statements, func(s map[string]any) bool { return s == nil })
		}
		return d.allows(t, d.evaluate(t).Changes())
	}
	return slices.ContainsFunc(d.apply(t, changes[0]), func(after *desk) bool { return after.reaches(t, changes[1:]) })
}

// harmless checks that the change does not open what was closed to others.
func harmless(t tester, ch policy.Change) {
	t.Helper()
	lower := strings.ToLower(ch.Key)
	switch {
	case ch.Text == "":
		t.Fatalf("a change without words: %+v", ch)
	case strings.Contains(ch.Policy, ":aws:policy/") && ch.Do != policy.RemoveStatement:
		t.Fatalf("edits a policy of AWS: %+v", ch)
	case ch.Do == policy.RemoveCondition && strings.Contains(lower, "tag/"):
		t.Fatalf("drops a tag: %+v", ch)
	case (ch.Do == policy.AddStatement || ch.Do == policy.AddValue) && (strings.Contains(string(ch.Add), `"Principal":"*"`) || strings.Contains(string(ch.Add), `"AWS":"*"`)):
		t.Fatalf("names everybody: %+v", ch)
	}
}

func TestTheChangesAllowTheRequest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		req, o := genQuestion(func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(rt, what) })
		provable(rt, newDesk(req, o))
	})
}

func TestTheChangesAllowWhatTheCorpusDenies(t *testing.T) {
	for file, decisions := range readCorpus(t) {
		t.Run(file, func(t *testing.T) {
			for _, c := range decisions.Cases {
				t.Run(c.Name, func(t *testing.T) { provable(t, c.desk(t)) })
			}
		})
	}
}

// FuzzChanges draws a question from the bytes and adds a raw condition to it.
func FuzzChanges(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), uint8(3), "aws:RequestTag/team", "bl*e?", "blue")
	f.Add([]byte{}, uint8(9), "aws:SourceIp", "10.0.0.0/8", "::ffff:10.0.0.1")
	f.Add([]byte{9, 9, 9, 9}, uint8(0), "s3:prefix", "${aws:username, 'x'}${*}", "alice*")
	f.Add([]byte{1, 2, 3}, uint8(14), "aws:CurrentTime", "2026-05-01T00:00:00Z", "1777593600")
	f.Add([]byte{3, 0, 1, 1, 7}, uint8(22), "aws:PrincipalArn", "*", "arn:aws:s3:::b")
	f.Fuzz(func(t *testing.T, choices []byte, operator uint8, key, pattern, value string) {
		next := 0
		req, o := genQuestion(func(n int, _ string) int {
			if next >= len(choices) {
				return 0
			}
			next++
			return int(choices[next-1]) % n
		})
		operators := slices.Sorted(slices.Values(policy.Operators()))
		label := strings.Trim(operators[int(operator)%len(operators)], `"`)
		one := map[string]any{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": map[string]any{label: map[string]any{key: pattern}}}
		if len(choices)%2 == 1 {
			one["Effect"] = "Deny"
		}
		raw := map[string]any{"Version": "2012-10-17", "Statement": []map[string]any{one}}
		text, err := json.Marshal(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policy.Parse(policy.Identity, "", text); err != nil || len(text) > 4096 || len(value) > 1024 {
			return
		}
		o.identity = append(o.identity, raw)
		req.Keys[key] = append(req.Keys[key], value)
		// What a value of the wrong kind can be replaced by is for the table above: here,
		// that there is always an answer, whole and in words.
		d := newDesk(req, o).evaluate(t)
		report := d.Report()
		if _, err := json.Marshal(d); err != nil || report.Explanation == "" || d.Allowed != (len(report.Changes) == 0) || d.Allowed != (report.Fix == "") {
			t.Fatalf("%v: %+v", err, report)
		}
		for _, ch := range report.Changes {
			harmless(t, ch)
		}
	})
}

// BenchmarkExplainDenial is what a denial costs beside its decision: one that is
// usual, and one that somebody wrote to be slow.
func BenchmarkExplainDenial(b *testing.B) {
	var denials []string
	for i := range 120 {
		denials = append(denials, fmt.Sprintf(`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"StringNotLike":{"aws:PrincipalTag/t%d":"*a*b*c*%d"},"NumericLessThan":{"s3:max-keys":"%d"}}}`, i, i, i+10))
	}
	keys := policy.Keys{"s3:max-keys": {"5"}}
	for name, statements := range map[string]string{
		"usual":   `{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*"}`,
		"hostile": strings.Join(denials, ","),
	} {
		b.Run(name, func(b *testing.B) {
			p := mustParse(b, policy.Identity, "inline policy", `{"Version":"2012-10-17","Statement":[`+statements+`]}`)
			d := policy.Evaluate(policy.Request{Principal: principals["session"], Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k", Keys: keys}, policy.Set{Identity: []*policy.Policy{p}})
			b.ReportAllocs()
			for b.Loop() {
				if d.Fix() == "" {
					b.Fatal("no fix")
				}
			}
		})
	}
}
