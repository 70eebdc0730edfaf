package certificate

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Rotation are the times that authorities and certificates keep to; what is zero is
// podid's own.
type Rotation struct {
	// Authority is how long an authority is valid: a year. A new one is made when
	// two thirds of that are over.
	Authority time.Duration
	// Serving is how long a serving certificate is valid: 30 days. It is replaced
	// when two thirds of that are over.
	Serving time.Duration
	// Settle is how long after its publication somebody may not know an authority
	// yet: 5 minutes, where the kubelet needs up to two to bring a ConfigMap into a pod.
	Settle time.Duration
}

func (r Rotation) authority() time.Duration { return cmp.Or(r.Authority, 365*24*time.Hour) }
func (r Rotation) serving() time.Duration   { return cmp.Or(r.Serving, 30*24*time.Hour) }
func (r Rotation) settle() time.Duration    { return cmp.Or(r.Settle, 5*time.Minute) }

// State is what there is of authorities, the oldest first: those that are retired, the one
// that issues, and one that is to issue next, if it is time.
type State struct{ Authorities []Authority }

// Issuer is the authority that issues.
func (s State) Issuer() (Authority, bool) {
	for _, a := range s.Authorities {
		if a.Retired.IsZero() {
			return a, true
		}
	}
	return Authority{}, false
}

// Bundle is what whoever connects is to trust, in PEM.
func (s State) Bundle() []byte {
	var bundle []byte
	for _, a := range s.Authorities {
		bundle = append(bundle, encode(a.Certificate)...)
	}
	return bundle
}

// Publish notes that the bundle was published as it is now. anew says that some of it was
// not there before: then whoever reads it may have read it without.
func (s State) Publish(now time.Time, anew bool) (State, bool) {
	out := State{slices.Clone(s.Authorities)}
	changed := false
	for i := range out.Authorities {
		a := &out.Authorities[i]
		if a.Published.IsZero() || anew && a.Retired.IsZero() {
			a.Published, changed = now, true
		}
	}
	return out, changed
}

// Advance is what the state becomes as time passes, and what was done, for a log; nothing
// was, if that is empty. forced makes a new authority before it is time. The state that
// is given stays as it is.
func (r Rotation) Advance(s State, namespace string, now time.Time, forced bool) (State, []string, error) {
	out := State{slices.Clone(s.Authorities)}
	var done []string
	step := func(what string, a Authority) { done = append(done, what+" "+a.Certificate.Subject.CommonName) }

	out.Authorities = slices.DeleteFunc(out.Authorities, func(a Authority) bool {
		over := !a.Retired.IsZero() && !now.Before(a.Retired.Add(r.serving()))
		if over {
			step("forgot", a)
		}
		return over
	})
	first := slices.IndexFunc(out.Authorities, func(a Authority) bool { return a.Retired.IsZero() })
	if first < 0 {
		a, err := newAuthority(namespace, r.authority(), now)
		if err != nil {
			return s, nil, err
		}
		step("made", a)
		out.Authorities = append(out.Authorities, a)
		return out, done, nil
	}
	issuer := &out.Authorities[first]
	expired := !now.Before(issuer.Certificate.NotAfter)
	if first+1 < len(out.Authorities) {
		next := out.Authorities[first+1]
		settled := !next.Published.IsZero() && !now.Before(next.Published.Add(r.settle()))
		// Nobody accepts what an expired one issued: there is nothing to wait for.
		if settled || expired {
			issuer.Retired, issuer.Key = now, nil
			step("retired", *issuer)
			step("issues from now on:", next)
		}
		return out, done, nil
	}
	if forced || !now.Before(renewal(issuer.Certificate.NotBefore, issuer.Certificate.NotAfter)) {
		a, err := newAuthority(namespace, r.authority(), now)
		if err != nil {
			return s, nil, fmt.Errorf("next: %w", err)
		}
		step("made", a)
		out.Authorities = append(out.Authorities, a)
	}
	return out, done, nil
}

// Wake is when there may be something to do again, at the latest.
func (r Rotation) Wake(s State, now time.Time) time.Duration {
	next := time.Hour
	for _, a := range s.Authorities {
		if a.Retired.IsZero() && !a.Published.IsZero() {
			if left := a.Published.Add(r.settle()).Sub(now); left > 0 {
				next = min(next, left)
			}
		}
	}
	return next
}

// renewal is when what is valid from one time to another is to be replaced.
func renewal(from, to time.Time) time.Time { return from.Add(to.Sub(from) / 3 * 2) }
