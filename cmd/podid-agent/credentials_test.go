package main

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/agent"
)

func TestReplacedKeysOfTheSharedFileAreUsedWithinAMinute(t *testing.T) {
	noAWS(t)
	file := sharedFile(t, podid.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"})
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	synctest.Test(t, func(t *testing.T) {
		node := agent.NodeCredentials()
		uses := func(want string) {
			t.Helper()
			if got, err := node.Retrieve(t.Context()); err != nil || got.AccessKeyID != want {
				t.Errorf("it uses %q, not %q: %v", got.AccessKeyID, want, err)
			}
		}
		uses("AKIAEXAMPLE")
		replaced := sharedFile(t, podid.Credentials{AccessKeyID: "AKIAREPLACED", SecretAccessKey: "other"})
		if err := os.Rename(replaced, file); err != nil {
			t.Fatal(err)
		}
		uses("AKIAEXAMPLE") // no file is read for each request
		time.Sleep(time.Minute)
		uses("AKIAREPLACED")
	})
}

func TestTheInstancesRoleIsAskedForAgainBeforeItsKeysExpire(t *testing.T) {
	noAWS(t)
	var asked atomic.Int32
	instance := httptest.NewServer(metadata(func() podid.Credentials { // they are used until ten seconds before they end
		return podid.Credentials{AccessKeyID: fmt.Sprint("ASIAEXAMPLE", asked.Add(1)), SecretAccessKey: "secret", SessionToken: "T", Expires: time.Now().Add(10300 * time.Millisecond)}
	}, "eu-central-1"))
	defer instance.Close()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance.URL)
	node := agent.NodeCredentials()
	if got, err := node.Retrieve(t.Context()); err != nil || got.AccessKeyID != "ASIAEXAMPLE1" {
		t.Errorf("got %q, %v", got.AccessKeyID, err)
	}
	time.Sleep(400 * time.Millisecond)
	if got, err := node.Retrieve(t.Context()); err != nil || got.AccessKeyID != "ASIAEXAMPLE2" {
		t.Errorf("then it got %q, %v", got.AccessKeyID, err)
	}
}

func TestTheNodesCredentialsAreThoseOfItsProfile(t *testing.T) {
	const keys = "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key = s\n[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = s\n"
	for name, c := range map[string]struct {
		credentials, config, profile string
		uses, refused                string
	}{
		"the default profile": {credentials: keys, uses: "AKIADEFAULT"},
		"a named profile":     {credentials: keys, profile: "other", uses: "AKIAOTHER"},
		"keys in the config file": {config: "[profile other]\naws_access_key_id = AKIACONFIG\naws_secret_access_key = s\n",
			profile: "other", uses: "AKIACONFIG"},
		"a credential_process": {config: "[default]\n" + `credential_process = echo '{"Version":1,"AccessKeyId":"AKIAPROCESS","SecretAccessKey":"s"}'` + "\n",
			uses: "AKIAPROCESS"},
		"a credential_process that fails": {config: "[default]\ncredential_process = exit 3\n", refused: "credential"},
		"a profile that is not there":     {credentials: keys, profile: "absent", refused: "absent"},
		"a role": {credentials: keys, config: "[profile deploy]\nrole_arn = arn:aws:iam::111122223333:role/deploy\nsource_profile = other\n",
			profile: "deploy", refused: `the profile "deploy" of the shared files names a role`},
		"a web identity": {config: "[default]\nrole_arn = arn:aws:iam::111122223333:role/deploy\nweb_identity_token_file = /token\n",
			refused: `the profile "default" of the shared files names a role, a web identity`},
		"single sign-on": {config: "[default]\nsso_session = corp\nsso_account_id = 111122223333\nsso_role_name = dev\n" +
			"[sso-session corp]\nsso_region = eu-central-1\nsso_start_url = https://corp.test\n",
			refused: "single sign-on"},
		"nothing": {refused: "EC2 IMDS"},
	} {
		t.Run(name, func(t *testing.T) {
			noAWS(t)
			for variable, text := range map[string]string{"AWS_SHARED_CREDENTIALS_FILE": c.credentials, "AWS_CONFIG_FILE": c.config} {
				file := filepath.Join(t.TempDir(), "file")
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				t.Setenv(variable, file)
			}
			if c.profile != "" {
				t.Setenv("AWS_PROFILE", c.profile)
			}
			got, err := agent.NodeCredentials().Retrieve(t.Context())
			if got.AccessKeyID != c.uses || (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Errorf("it uses %q: %v", got.AccessKeyID, err)
			}
			t.Setenv("AWS_ACCESS_KEY_ID", "AKIAVARIABLES") // these go before all
			t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
			if got, err := agent.NodeCredentials().Retrieve(t.Context()); err != nil || got.AccessKeyID != "AKIAVARIABLES" {
				t.Errorf("with the variables it uses %q: %v", got.AccessKeyID, err)
			}
		})
	}
}
