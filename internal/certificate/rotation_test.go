package certificate_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/openpodidentity/podid/internal/certificate"
)

const namespace = "podid-system"

var hosts = certificate.Hosts(namespace, "podid-auth", "podid-eks")

// deployment is podid as its certificates see it: a leader that works now and then, a
// server, and clients that hold bundles of different ages.
type deployment struct {
	rotation certificate.Rotation
	state    certificate.State
	serving  certificate.Serving
	bundle   []byte
	log      []string
	// seen are the bundles that were published, and when each was replaced.
	seen []published
}

type published struct {
	bundle []byte
	until  time.Time // zero for the present one
}

// work is one round of the leader.
func (d *deployment) work(t interface{ Fatal(...any) }, forced bool) {
	now := time.Now()
	state, done, err := d.rotation.Advance(d.state, namespace, now, forced)
	if err != nil {
		t.Fatal(err)
	}
	d.state, d.log = state, append(d.log, done...)
	bundle := d.state.Bundle()
	anew := !slices.Equal(bundle, d.bundle)
	if anew {
		if n := len(d.seen); n > 0 {
			d.seen[n-1].until = now
		}
		d.seen, d.bundle = append(d.seen, published{bundle: bundle}), bundle
	}
	d.state, _ = d.state.Publish(now, anew)
	issuer, ok := d.state.Issuer()
	if !ok {
		t.Fatal("nobody issues")
	}
	if d.rotation.Due(d.serving, issuer, hosts, now) == "" {
		return
	}
	if d.serving, err = d.rotation.Issue(issuer, hosts, now); err != nil {
		t.Fatal(err)
	}
}

// accepts says whether a client with this bundle accepts what the server serves.
func accepts(bundle []byte, serving certificate.Serving, name string) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	pair, err := tls.X509KeyPair(serving.Certificate, serving.Key)
	if err != nil {
		return err
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: time.Now()})
	return err
}

// everybody checks all clients: those with a bundle that was replaced less than lag ago have it still.
func (d *deployment) everybody(t interface{ Fatalf(string, ...any) }, lag time.Duration) {
	for i, p := range d.seen {
		if !p.until.IsZero() && time.Since(p.until) > lag {
			continue
		}
		if err := accepts(p.bundle, d.serving, "podid-auth.podid-system.svc"); err != nil {
			t.Fatalf("bundle %d of %d, replaced %v ago: %v\n%q", i, len(d.seen), time.Since(p.until), err, d.log)
		}
	}
}

// The kubelet takes up to two minutes; the leader works a few times a day, and is away for a week now and then.
func TestNoClientMeetsACertificateItCannotVerifyInThreeYears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(deployment)
		for round, end := 1, time.Now().AddDate(3, 0, 0); time.Now().Before(end); round++ {
			d.work(t, false)
			d.everybody(t, 2*time.Minute)
			pause := d.rotation.Wake(d.state, time.Now())
			switch {
			case round%200 == 0:
				pause = 7 * 24 * time.Hour
			case pause == time.Hour:
				pause = 8 * time.Hour
			}
			time.Sleep(pause)
			d.everybody(t, 2*time.Minute)
		}
		if made := count(d.log, "made"); made < 4 || made > 6 {
			t.Errorf("%d authorities in three years: %q", made, d.log)
		}
		if n := len(d.state.Authorities); n > 2 {
			t.Errorf("%d authorities at the end", n)
		}
	})
}

func TestNoClientIsLostHoweverOftenARotationIsForced(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		pauses := rapid.SliceOfN(rapid.IntRange(1, 20*24*3600), 1, 60).Draw(r, "pauses")
		forced := rapid.SliceOfN(rapid.Bool(), len(pauses), len(pauses)).Draw(r, "forced")
		synctest.Test(t, func(*testing.T) {
			d := new(deployment)
			d.work(r, false)
			for i, seconds := range pauses {
				time.Sleep(time.Duration(seconds) * time.Second)
				// A server may have been cut off from news for days: until it expires, what it has is accepted.
				d.work(r, forced[i])
				d.everybody(r, 5*time.Minute-time.Second)
			}
		})
	})
}

func TestAServerThatIsCutOffIsAcceptedUntilItsCertificateExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(deployment)
		d.work(t, false)
		old := d.serving
		d.work(t, true)
		for range 30*24 - 1 {
			time.Sleep(time.Hour)
			d.work(t, false)
			if err := accepts(d.bundle, old, "podid-eks.podid-system.svc"); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestANewAuthorityIssuesOnlyWhenItsPublicationHasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r certificate.Rotation
		first, _, err := r.Advance(certificate.State{}, namespace, time.Now(), false)
		if err != nil {
			t.Fatal(err)
		}
		first, _ = first.Publish(time.Now(), true)
		time.Sleep(time.Hour)
		next, done, err := r.Advance(first, namespace, time.Now(), true)
		if err != nil || len(next.Authorities) != 2 {
			t.Fatal(done, err)
		}
		issues := func(s certificate.State) int {
			a, _ := s.Issuer()
			return slices.IndexFunc(next.Authorities, func(b certificate.Authority) bool { return a.Certificate.Equal(b.Certificate) })
		}
		// It was made and cannot be published, for a day: the API server refuses, say.
		time.Sleep(24 * time.Hour)
		if s, done, _ := r.Advance(next, namespace, time.Now(), true); len(done) != 0 || issues(s) != 0 {
			t.Fatalf("unpublished: %q", done)
		}
		next, _ = next.Publish(time.Now(), true)
		time.Sleep(4 * time.Minute)
		// Somebody deletes the ConfigMap: whoever starts now reads nothing until it is there again.
		next, _ = next.Publish(time.Now(), true)
		time.Sleep(4 * time.Minute)
		if s, done, _ := r.Advance(next, namespace, time.Now(), false); len(done) != 0 || issues(s) != 0 {
			t.Fatalf("published anew 4 minutes ago: %q", done)
		}
		time.Sleep(time.Minute)
		s, done, _ := r.Advance(next, namespace, time.Now(), false)
		if len(done) == 0 || issues(s) != 1 || s.Authorities[0].Key != nil {
			t.Fatalf("settled: %q", done)
		}
	})
}

func TestAClusterThatSleptForYearsStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(deployment)
		d.work(t, false)
		time.Sleep(5 * 365 * 24 * time.Hour)
		d.work(t, false)
		d.work(t, false)
		if err := accepts(d.bundle, d.serving, "podid-auth.podid-system.svc"); err != nil {
			t.Errorf("%v: %q", err, d.log)
		}
	})
}

func TestAnAuthorityVouchesForPodidAlone(t *testing.T) {
	var r certificate.Rotation
	s, _, err := r.Advance(certificate.State{}, namespace, time.Now(), false)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := s.Issuer()
	for _, name := range []string{"sts.amazonaws.com", "kubernetes.default.svc", "10.0.0.1"} {
		forged, err := r.Issue(a, []string{name}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := accepts(s.Bundle(), forged, name); err == nil {
			t.Errorf("a stolen key makes certificates of %s", name)
		}
	}
}

func TestACertificateIsReplacedForAReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r certificate.Rotation
		s, _, err := r.Advance(certificate.State{}, namespace, time.Now(), false)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := s.Issuer()
		good, err := r.Issue(a, hosts, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		due := func(what string, want bool, serving certificate.Serving, hosts []string) {
			t.Helper()
			if got := r.Due(serving, a, hosts, time.Now()); (got != "") != want {
				t.Errorf("%s: %q", what, got)
			}
		}
		due("as issued", false, good, hosts)
		due("none", true, certificate.Serving{}, hosts)
		due("cut off", true, certificate.Serving{Certificate: good.Certificate[:200], Key: good.Key}, hosts)
		due("for fewer names", true, good, append(hosts, "podid-new.podid-system.svc"))
		time.Sleep(19 * 24 * time.Hour)
		due("after 19 days", false, good, hosts)
		time.Sleep(24 * time.Hour)
		due("after 20 days", true, good, hosts)
	})
}

func TestAServerIsAcceptedByEachOfItsNames(t *testing.T) {
	d := new(deployment)
	d.work(t, false)
	pair, err := tls.X509KeyPair(d.serving.Certificate, d.serving.Key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &pair, nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); _, _ = io.Copy(conn, conn) }()
		}
	}()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(d.bundle)
	for _, name := range hosts {
		if net.ParseIP(name) != nil && name != "127.0.0.1" {
			continue
		}
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = conn.Close()
	}
}

func count(log []string, prefix string) (n int) {
	for _, line := range log {
		if len(line) >= len(prefix) && line[:len(prefix)] == prefix {
			n++
		}
	}
	return n
}
