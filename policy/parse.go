package policy

import (
	"slices"
	"strings"
)

// Versions of the policy language. Without a Version a document speaks the older
// one, which has no policy variables.
const (
	version2008 = "2008-10-17"
	version2012 = "2012-10-17"
)

// statement is one compiled statement.
type statement struct {
	sid       string
	index     int
	deny      bool
	line, col int

	// principals is nil if the statement has no Principal element.
	principals   []grantee
	notPrincipal bool
	actions      []action
	notAction    bool
	// resources is nil if the statement has no Resource element (Trust, and
	// Resource policies that speak of the resource they are attached to).
	resources   []template
	notResource bool
	conditions  []condition
}

// action is a compiled pattern of actions, in lower case: IAM ignores the case of actions.
type action struct{ source, pattern string }

// Parse reads a document. A mistake is a *SyntaxError with its position.
//
// The grammar is strict: unknown elements and operators, and keys that appear
// twice, are mistakes
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html).
func Parse(t Type, name string, document []byte) (*Policy, error) {
	r, root, err := readDocument(name, document)
	if err != nil {
		return nil, err
	}
	c := &compiler{reader: r, policy: &Policy{Name: name, Type: t, version: version2008}}
	if err := c.document(root); err != nil {
		return nil, err
	}
	return c.policy, nil
}

type compiler struct {
	*reader
	policy *Policy
	sids   map[string]bool
}

func (c *compiler) document(root *node) error {
	if root.kind != objectNode {
		return c.failNode(root, "a policy is not "+root.kind.String(), "an object with Version and Statement")
	}
	var body *node
	for _, m := range root.members {
		switch m.key {
		case "Version":
			v, err := c.text(m.value, version2012)
			if err != nil {
				return err
			}
			if v != version2008 && v != version2012 {
				return c.failNode(m.value, excerpt(v)+" is not a version of the policy language", `"2012-10-17" or "2008-10-17"`)
			}
			c.policy.version = v
		case "Id":
			v, err := c.text(m.value, "a string")
			if err != nil {
				return err
			}
			c.policy.id = v
		case "Statement":
			body = m.value
		default:
			return c.fail(m.start, m.value.path, "a policy has no element "+excerpt(m.key), "Version, Id or Statement")
		}
	}
	if err := c.organization(root); err != nil {
		return err
	}
	if body == nil {
		return c.failNode(root, "the policy has no Statement", "Statement")
	}
	items := []*node{body}
	if body.kind == arrayNode {
		items = body.items
	}
	c.sids = make(map[string]bool)
	for i, n := range items {
		s, err := c.statement(n)
		if err != nil {
			return err
		}
		s.index = i
		c.policy.statements = append(c.policy.statements, *s)
	}
	if c.policy.Type == ResourceControl {
		return c.resourceControl(items)
	}
	return nil
}

// elements of a statement, in the order in which messages list them.
var elements = []string{"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}

func (c *compiler) statement(n *node) (*statement, error) {
	if n.kind != objectNode {
		return nil, c.failNode(n, "a statement is not "+n.kind.String(), "an object")
	}
	s := &statement{}
	s.line, s.col = c.position(n.start)
	has := make(map[string]*member, len(n.members))
	for i := range n.members {
		m := &n.members[i]
		if !slices.Contains(elements, m.key) {
			return nil, c.fail(m.start, m.value.path, "a statement has no element "+excerpt(m.key), strings.Join(elements, ", "))
		}
		has[m.key] = m
	}
	if err := c.complete(n, has); err != nil {
		return nil, err
	}
	for _, m := range n.members {
		if err := c.element(s, m); err != nil {
			return nil, err
		}
	}
	if s.notPrincipal && !s.deny {
		return nil, c.fail(has["NotPrincipal"].start, has["NotPrincipal"].value.path, "NotPrincipal cannot be used with Allow", `Principal, or "Effect": "Deny"`)
	}
	return s, nil
}

// complete checks that a statement has the elements that its policy's type
// demands, and none that it forbids.
func (c *compiler) complete(n *node, has map[string]*member) error {
	t := c.policy.Type
	if has["Effect"] == nil {
		return c.failNode(n, "the statement has no Effect", `"Effect": "Allow" or "Effect": "Deny"`)
	}
	for _, pair := range []string{"Principal", "Action", "Resource"} {
		yes, not := has[pair], has["Not"+pair]
		one := yes
		if one == nil {
			one = not
		}
		if yes != nil && not != nil {
			return c.fail(not.start, not.value.path, "the statement has both "+pair+" and Not"+pair, "one of them")
		}
		var demanded, forbidden bool
		switch pair {
		case "Principal":
			demanded = t == Trust || t == Resource || t == ResourceControl
			forbidden = !demanded
		case "Action":
			demanded = true
		case "Resource":
			forbidden = t == Trust
			demanded = !forbidden && t != Resource
		}
		article := "a "
		if t == Identity {
			article = "an "
		}
		if forbidden && one != nil {
			return c.fail(one.start, one.value.path, article+t.String()+" has no "+one.key, "")
		}
		if not != nil && t.forbids(not.key) {
			return c.fail(not.start, not.value.path, article+t.String()+" has no "+not.key, pair)
		}
		if demanded && one == nil {
			expected := pair
			if !t.forbids("Not" + pair) {
				expected += " (or Not" + pair + ")"
			}
			return c.failNode(n, "the statement has no "+pair, expected)
		}
	}
	return nil
}

func (c *compiler) element(s *statement, m member) (err error) {
	switch m.key {
	case "Sid":
		return c.sid(s, m.value)
	case "Effect":
		effect, err := c.text(m.value, `"Allow" or "Deny"`)
		if err != nil {
			return err
		}
		if effect != "Allow" && effect != "Deny" {
			return c.failNode(m.value, excerpt(effect)+" is not an effect", `"Allow" or "Deny"`)
		}
		s.deny = effect == "Deny"
	case "Principal", "NotPrincipal":
		s.notPrincipal = m.key == "NotPrincipal"
		s.principals, err = c.principals(m.value)
	case "Action", "NotAction":
		s.notAction = m.key == "NotAction"
		s.actions, err = c.actions(m.value, !s.notAction)
	case "Resource", "NotResource":
		s.notResource = m.key == "NotResource"
		s.resources, err = c.resources(m.value)
	case "Condition":
		s.conditions, err = c.conditions(m.value)
	}
	return err
}

func (c *compiler) variables() bool { return c.policy.version == version2012 }

// text is the value of an element that is one string.
func (c *compiler) text(n *node, expected string) (string, error) {
	if n.kind != stringNode {
		return "", c.failNode(n, "this is "+n.kind.String(), expected)
	}
	return n.text, nil
}

// list is a value or a list of values; literals are numbers and booleans, which
// condition values may be.
func (c *compiler) list(n *node, literals bool) ([]*node, error) {
	items := []*node{n}
	if n.kind == arrayNode {
		items = n.items
	}
	for _, v := range items {
		if v.kind != stringNode && (v.kind != literalNode || !literals) {
			return nil, c.failNode(v, "this is "+v.kind.String(), "a string, or a list of strings")
		}
	}
	return items, nil
}
