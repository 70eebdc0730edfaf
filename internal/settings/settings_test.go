package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/settings"
	"github.com/openpodidentity/podid/problem"

	"github.com/google/go-cmp/cmp"
)

var lab = map[string]string{"clusterName": "lab", "region": "eu-central-1", "account": "111122223333"}

func with(key, value string) map[string]string {
	data := map[string]string{key: value}
	for k, v := range lab {
		if k != key {
			data[k] = v
		}
	}
	return data
}

func TestWhatIsNotSetHasItsDefault(t *testing.T) {
	got, err := settings.Parse(lab)
	if err != nil {
		t.Fatal(err)
	}
	want := settings.Settings{
		Cluster: podid.Cluster{Name: "lab", Region: "eu-central-1", Account: "111122223333"},
		EKSAPI:  true, SessionDuration: time.Hour, MaxStaleness: time.Hour,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTheClusterHasNoDefault(t *testing.T) {
	for key := range lab {
		got, err := settings.Parse(with(key, " "))
		if !problem.Is(err, problem.ConfigurationMissing) || !strings.Contains(err.Error(), key) {
			t.Errorf("without %s: got %v", key, err)
		}
		if !got.EKSAPI {
			t.Errorf("without %s the rest is not read", key)
		}
	}
}

func TestEveryKeyIsReadAndHeldToItsKind(t *testing.T) {
	for _, c := range []struct {
		key   string
		good  string
		wrong []string
	}{
		{"clusterName", "A-b_9", []string{"-a", "a b", strings.Repeat("a", 101)}},
		{"region", "us-gov-west-1", []string{"Frankfurt", "eu", "eu-central-1a"}},
		{"account", "000000000001", []string{"1", "1111222233334", "1.1112222e11"}},
		{"stsEndpoint", "http://10.99.0.1:4566", []string{"http://sts.example.com", "http://203.0.113.7", "sts.example.com", "https://user@sts.example.com", "ftp://10.0.0.1"}},
		{"iamEndpoint", "https://iam.example.com", []string{"x"}},
		{"principal", "service", []string{"Service", "user"}},
		{"sessionDuration", "6h", []string{"1", "14m", "13h", "-1h"}},
		{"iHaveBlockedIMDS", "true", []string{"yes"}},
		{"issuer", "https://kubernetes.default.svc", []string{"http://kubernetes.default.svc", "kubernetes"}},
		{"maxStaleness", "30m", []string{"1s", "9m", "25h"}},
		{"allowSigV4Agents", "true", []string{"on"}},
		{"annotations", "true", []string{"2"}},
		{"eksAPI", "false", []string{"off"}},
		{"irsa", "true", []string{"irsa"}},
		{"ipv6", "true", []string{"6"}},
		{"globalSTS", "true", []string{"-"}},
		{"startupTaint", "true", []string{"taint"}},
		{"certManager", "true", []string{"cert-manager"}},
	} {
		plain, err := settings.Parse(with("maxStaleness", "1h"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := settings.Parse(with(c.key, " "+c.good+"\n"))
		if err != nil {
			t.Errorf("%s: %v", c.key, err)
		} else if cmp.Equal(plain, got) {
			t.Errorf("%s has no effect", c.key)
		}
		for _, value := range append(c.wrong, strings.Repeat("1", 5000)) {
			if _, err := settings.Parse(with(c.key, value)); !problem.Is(err, problem.ConfigurationInvalid) || !strings.Contains(err.Error(), c.key) {
				t.Errorf("%s %.80q: got %v", c.key, value, err)
			}
		}
	}
	if n := len(settings.Keys()); n != 18 {
		t.Errorf("there are %d keys; does the table have all?", n)
	}
}

func TestUnknownKeysAreErrors(t *testing.T) {
	_, err := settings.Parse(with("clustername", "lab"))
	if !problem.Is(err, problem.ConfigurationInvalid) || !strings.Contains(err.Error(), `"clustername"`) {
		t.Errorf("got %v", err)
	}
}

// A mounted ConfigMap: each key is a link through ..data to a folder of its own.
func TestAMountedConfigMapIsRead(t *testing.T) {
	folder := t.TempDir()
	inside := filepath.Join(folder, "..2026_11_28")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..2026_11_28", filepath.Join(folder, "..data")); err != nil {
		t.Fatal(err)
	}
	for key, value := range lab {
		if err := os.WriteFile(filepath.Join(inside, key), []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", key), filepath.Join(folder, key)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := settings.Read(folder)
	if err != nil || got.Cluster.Name != "lab" {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := settings.Read(filepath.Join(folder, "none")); !problem.Is(err, problem.ConfigurationMissing) {
		t.Errorf("a folder that is not there: got %v", err)
	}
	if err := os.Mkdir(filepath.Join(folder, "region2"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := settings.Read(folder); !problem.Is(err, problem.ConfigurationInvalid) {
		t.Errorf("a folder in place of a key: got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, key := range settings.Keys() {
		f.Add(key, "true")
		f.Add(key, "https://10.0.0.1:443")
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		got, err := settings.Parse(with(key, value))
		if err != nil && problem.Of(err).Code == problem.Internal {
			t.Errorf("not a problem: %v", err)
		}
		if err == nil && (got.Cluster.Name == "" || got.SessionDuration < 15*time.Minute) {
			t.Errorf("got %+v", got)
		}
	})
}
