package podid_test

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openpodidentity/podid"

	"pgregory.net/rapid"
)

var (
	cluster  = podid.Cluster{Name: "a-cluster-with-a-long-name", Region: "eu-central-1", Account: "111122223333"}
	workload = podid.Workload{
		Namespace: "shop", ServiceAccount: "cart", Pod: "cart-7d4b9c6f5-x2x9z",
		PodUID: "0b5ba79a-3c4a-4f6a-9b7e-1d2c3b4a5f60",
	}
)

func TestOnlyRoleARNsAreRoleARNs(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:iam::111122223333:role/EKS-Pod-Identity-Role":      "EKS-Pod-Identity-Role",
		"arn:aws:iam::111122223333:role/team/shop/cart":             "cart",
		"arn:aws-cn:iam::111122223333:role/cart":                    "cart",
		"arn:aws-us-gov:iam::111122223333:role/cart":                "cart",
		"arn:aws:iam::111122223333:role/" + strings.Repeat("a", 64): strings.Repeat("a", 64),
		"":                                    "",
		"EKS-Pod-Identity-Role":               "",
		"arn:aws:iam::11112222333:role/cart":  "",
		"arn:aws:iam::111122223333:user/cart": "",
		"arn:aws:iam::111122223333:role/":     "",
		"arn:aws:iam::111122223333:role/a b":  "",
		"arn:aws:sts::111122223333:assumed-role/cart/session":            "",
		"arn:aws:iam::111122223333:role/" + strings.Repeat("a", 65):      "",
		"arn:aws:iam::111122223333:role/" + strings.Repeat("a/", 400):    "",
		"arn:aws:iam::111122223333:role/cart\n":                          "",
		"arn:aws:iam::111122223333:role/cart,arn:aws:iam::1:role/other*": "",
	} {
		role, err := podid.ParseRoleARN(arn)
		if (err == nil) != (want != "") || role.Name() != want {
			t.Errorf("ParseRoleARN(%q) = %q, %v; name %q, want %q", arn, role, err, role.Name(), want)
		}
		if err == nil && role.Account() != "111122223333" {
			t.Errorf("account of %q is %q", arn, role.Account())
		}
	}
}

func TestASessionNameFitsAndLeadsBackToThePod(t *testing.T) {
	name := podid.SessionName(cluster, workload)
	if want := "eks-a-cluster--cart-7d4b9-" + workload.PodUID; name != want {
		t.Errorf("got %s, want %s", name, want)
	}
	valid := regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	rapid.Check(t, func(t *rapid.T) {
		c := podid.Cluster{Name: rapid.StringMatching(`[0-9A-Za-z][A-Za-z0-9_-]{0,99}`).Draw(t, "cluster")}
		w := podid.Workload{Pod: rapid.StringMatching(`[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?`).Draw(t, "pod"), PodUID: workload.PodUID}
		if name := podid.SessionName(c, w); !valid.MatchString(name) || !strings.HasSuffix(name, w.PodUID) {
			t.Errorf("%q is no session name that leads back to the pod", name)
		}
	})
}

func TestAnAssociationIsNamedAfterItsUID(t *testing.T) {
	valid := regexp.MustCompile(`^a-[a-z0-9]{17}$`)
	seen := map[string]string{}
	for n := range 1000 {
		a := podid.Association{UID: fmt.Sprint("uid-", n)}
		if !valid.MatchString(a.ID()) {
			t.Fatalf("%q is no association ID", a.ID())
		}
		if other, twice := seen[a.ID()]; twice {
			t.Fatalf("%s and %s share the ID %s", other, a.UID, a.ID())
		}
		seen[a.ID()] = a.UID
	}
	a := podid.Association{UID: "uid"}
	if want := "arn:aws:eks:eu-central-1:111122223333:podidentityassociation/a-cluster-with-a-long-name/" + a.ID(); a.ARN(cluster) != want {
		t.Errorf("got %s, want %s", a.ARN(cluster), want)
	}
}

func TestTheExternalIDDependsOnNamesAlone(t *testing.T) {
	a := podid.Association{UID: "one", Namespace: "shop", ServiceAccount: "cart", Target: "arn:aws:iam::444455556666:role/data"}
	b := a
	b.UID = "two"
	want := "eu-central-1/111122223333/a-cluster-with-a-long-name/shop/cart"
	if a.ExternalID(cluster) != want || b.ExternalID(cluster) != want {
		t.Errorf("got %s and %s, want %s", a.ExternalID(cluster), b.ExternalID(cluster), want)
	}
	a.Target = ""
	if a.ExternalID(cluster) != "" {
		t.Error("an association without a target role has an external ID")
	}
}

func TestTheSixSessionTagsSayWhoTheWorkloadIs(t *testing.T) {
	want := []podid.Tag{
		{Key: "eks-cluster-arn", Value: "arn:aws:eks:eu-central-1:111122223333:cluster/a-cluster-with-a-long-name"},
		{Key: "eks-cluster-name", Value: "a-cluster-with-a-long-name"},
		{Key: "kubernetes-namespace", Value: "shop"},
		{Key: "kubernetes-service-account", Value: "cart"},
		{Key: "kubernetes-pod-name", Value: "cart-7d4b9c6f5-x2x9z"},
		{Key: "kubernetes-pod-uid", Value: "0b5ba79a-3c4a-4f6a-9b7e-1d2c3b4a5f60"},
	}
	if got := podid.SessionTags(cluster, workload); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCredentialsCannotBePrinted(t *testing.T) {
	c := podid.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "hush", SessionToken: "whisper", Expires: time.Now()}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("issued", "credentials", c, "pointer", &c)
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v %#v %s", c, c, &c), log.String()} {
		if strings.Contains(text, "hush") || strings.Contains(text, "whisper") || !strings.Contains(text, "ASIAEXAMPLE") {
			t.Errorf("credentials print as %s", text)
		}
	}
}

func FuzzParseRoleARN(f *testing.F) {
	f.Add("arn:aws:iam::111122223333:role/team/shop/cart")
	f.Add("arn:aws:sts::111122223333:assumed-role/cart/session")
	f.Fuzz(func(t *testing.T, s string) {
		role, err := podid.ParseRoleARN(s)
		if err != nil {
			return
		}
		if string(role) != s || len(role.Account()) != 12 || !strings.HasSuffix(s, "/"+role.Name()) {
			t.Errorf("%q is taken for role %q of account %q", s, role.Name(), role.Account())
		}
		if strings.ContainsAny(role.Name(), "*?/ \n") {
			t.Errorf("%q names more than one role", s)
		}
	})
}
