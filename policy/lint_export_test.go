package policy

// LintRules are the names of all rules of Lint.
func LintRules() []string {
	names := []string{"syntax"}
	for _, r := range lintRules {
		names = append(names, r.name)
	}
	return names
}

// Covers reports whether pattern a is held to match all that b matches, and
// Disjoint whether they are held to match nothing in common.
func Covers(a, b string) bool {
	work := maxLintWork
	return newPattern(wildcards.Replace(a)).covers(newPattern(wildcards.Replace(b)), &work)
}

// Disjoint: see Covers.
func Disjoint(a, b string) bool {
	work := maxLintWork
	return newPattern(wildcards.Replace(a)).disjoint(newPattern(wildcards.Replace(b)), &work)
}

// Glob reports whether the pattern, as written, matches s.
func Glob(pattern, s string) bool { return glob(wildcards.Replace(pattern), s) }
