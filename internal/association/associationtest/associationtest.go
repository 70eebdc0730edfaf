// Package associationtest holds the scenarios that every association.Store
// passes. A store's own test is one call of [Run].
package associationtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/problem"
)

const (
	role   podid.RoleARN = "arn:aws:iam::111122223333:role/reader"
	other  podid.RoleARN = "arn:aws:iam::111122223333:role/team/writer"
	target podid.RoleARN = "arn:aws:iam::444455556666:role/target"
)

var cluster = podid.Cluster{Name: "lab", Region: "eu-central-1", Account: "111122223333"}

// Run runs every scenario, each on a new and empty store.
func Run(t *testing.T, open func(t *testing.T) association.Store) {
	for _, scenario := range []struct {
		name string
		run  func(*testing.T, association.Store)
	}{
		{"WhatIsCreatedIsFoundByNameAndByID", whatIsCreatedIsFound},
		{"WhatIsNotThereIsMissingByName", whatIsNotThereIsMissing},
		{"OneOfManyConcurrentCreatorsWins", oneCreatorWins},
		{"TheSameClientTokenReturnsTheOriginal", sameTokenSameAssociation},
		{"ConcurrentRetriesWithOneClientTokenMakeOneAssociation", concurrentRetries},
		{"AnInvalidAssociationIsNotStored", invalidIsNotStored},
		{"ThePagesOfAListingMakeTheWhole", pagesMakeTheWhole},
		{"AListingIsStableUnderChange", listingUnderChange},
		{"AForeignCursorIsRefused", foreignCursor},
		{"AnUpdateChangesWhatItMay", updateChanges},
		{"AnUpdateThatFailsChangesNothing", failedUpdate},
		{"AnUpdateThatChangesNothingKeepsTheVersion", emptyUpdate},
		{"ConcurrentUpdatesAreNotLost", concurrentUpdates},
		{"CreatedAnewItHasANewIDAndTheSameExternalID", createdAnew},
		{"WhoHasHeardOfAVersionGetsNoneOlder", noneOlder},
		{"ACancelledCallDoesNothing", cancelled},
		{"WhatIsReturnedIsACopy", copies},
		{"TheClusterHoldsFiveThousand", limit},
	} {
		t.Run(scenario.name, func(t *testing.T) { scenario.run(t, open(t)) })
	}
}

func whatIsCreatedIsFound(t *testing.T, s association.Store) {
	want := podid.Association{
		Namespace: "shop", ServiceAccount: "cart.v2", Role: role, Target: target,
		DisableSessionTags: true, Policy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`,
		Tags: map[string]string{"team": "a+b=c", "empty": ""}, ClientToken: strings.Repeat("t", 33),
	}
	created := create(t, s, want)
	if created.UID == "" || created.Version == "" || created.CreatedAt.IsZero() || !created.ModifiedAt.Equal(created.CreatedAt) {
		t.Errorf("UID, Version, CreatedAt and ModifiedAt are not all set: %+v", created)
	}
	set := cmpopts.IgnoreFields(podid.Association{}, "UID", "Version", "CreatedAt", "ModifiedAt")
	if diff := cmp.Diff(want, created, set); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	found, err := s.Find(t.Context(), "shop", "cart.v2")
	if diff := cmp.Diff(created, found); err != nil || diff != "" {
		t.Errorf("Find: %v (-created +found):\n%s", err, diff)
	}
	got, err := s.Get(t.Context(), created.ID())
	if diff := cmp.Diff(created, got); err != nil || diff != "" {
		t.Errorf("Get: %v (-created +got):\n%s", err, diff)
	}
	deleted, err := s.Delete(t.Context(), created.ID())
	if diff := cmp.Diff(created, deleted); err != nil || diff != "" {
		t.Errorf("Delete: %v (-created +deleted):\n%s", err, diff)
	}
	_, err = s.Find(t.Context(), "shop", "cart.v2")
	wantProblem(t, err, problem.AssociationMissing)
}

func whatIsNotThereIsMissing(t *testing.T, s association.Store) {
	create(t, s, plain("shop", "cart"))
	_, err := s.Find(t.Context(), "shop", "card")
	wantProblem(t, err, problem.AssociationMissing)
	if p := problem.Of(err); !strings.Contains(p.Message(), "shop/card") {
		t.Errorf("the message does not name the service account: %s", p.Message())
	}
	_, err = s.Find(t.Context(), "sho", "pcart")
	wantProblem(t, err, problem.AssociationMissing)
	const id = "a-00000000000000000"
	_, err = s.Get(t.Context(), id)
	wantProblem(t, err, problem.AssociationNotFound)
	_, err = s.Delete(t.Context(), id)
	wantProblem(t, err, problem.AssociationNotFound)
	_, err = s.Update(t.Context(), id, func(*podid.Association) error { return nil })
	wantProblem(t, err, problem.AssociationNotFound)
	if !strings.Contains(err.Error(), id) {
		t.Errorf("the error does not name the ID: %v", err)
	}
}

func oneCreatorWins(t *testing.T, s association.Store) {
	const creators = 16
	var group sync.WaitGroup
	made := make([]podid.Association, creators)
	errs := make([]error, creators)
	for i := range creators {
		group.Go(func() {
			a := plain("shop", "cart")
			a.ClientToken = fmt.Sprintf("creator-%030d", i)
			made[i], errs[i] = s.Create(t.Context(), a)
		})
	}
	group.Wait()
	var won []podid.Association
	for i, err := range errs {
		if err == nil {
			won = append(won, made[i])
		}
	}
	if len(won) != 1 {
		t.Fatalf("%d of %d creators won, want one", len(won), creators)
	}
	for _, err := range errs {
		if err != nil {
			wantProblem(t, err, problem.AssociationExists)
			if !strings.Contains(problem.Of(err).What, won[0].ID()) {
				t.Errorf("%v does not name %s", err, won[0].ID())
			}
		}
	}
	found, err := s.Find(t.Context(), "shop", "cart")
	if diff := cmp.Diff(won[0], found); err != nil || diff != "" {
		t.Errorf("Find: %v (-won +found):\n%s", err, diff)
	}
}

func sameTokenSameAssociation(t *testing.T, s association.Store) {
	a := plain("shop", "cart")
	a.ClientToken = strings.Repeat("a", 36)
	original := create(t, s, a)
	for name, again := range map[string]podid.Association{
		"the same": a,
		"another role": {
			Namespace: "shop", ServiceAccount: "cart", Role: other, ClientToken: a.ClientToken},
		"another service account": {
			Namespace: "shop", ServiceAccount: "till", Role: role, ClientToken: a.ClientToken},
	} {
		got, err := s.Create(t.Context(), again)
		if diff := cmp.Diff(original, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-original +got):\n%s", name, err, diff)
		}
	}
	if all := walk(t, s, association.Filter{}, 100); len(all) != 1 {
		t.Errorf("%d associations, want one", len(all))
	}
	b := plain("shop", "cart")
	b.ClientToken = strings.Repeat("b", 36)
	_, err := s.Create(t.Context(), b)
	wantProblem(t, err, problem.AssociationExists)
	_, err = s.Create(t.Context(), plain("shop", "cart"))
	wantProblem(t, err, problem.AssociationExists)

	// The token lives as long as its association.
	if _, err := s.Delete(t.Context(), original.ID()); err != nil {
		t.Fatal(err)
	}
	if again := create(t, s, a); again.UID == original.UID {
		t.Error("a deleted association came back")
	}
}

func concurrentRetries(t *testing.T, s association.Store) {
	a := plain("shop", "cart")
	a.ClientToken = strings.Repeat("r", 36)
	const retries = 8
	var group sync.WaitGroup
	made := make([]podid.Association, retries)
	errs := make([]error, retries)
	for i := range retries {
		group.Go(func() { made[i], errs[i] = s.Create(t.Context(), a) })
	}
	group.Wait()
	for i := range retries {
		if errs[i] != nil || made[i].UID != made[0].UID {
			t.Errorf("retry %d: %v %s, want %s", i, errs[i], made[i].UID, made[0].UID)
		}
	}
}

func invalidIsNotStored(t *testing.T, s association.Store) {
	a := plain("Shop", "cart")
	_, err := s.Create(t.Context(), a)
	wantProblem(t, err, problem.AssociationInvalid)
	a = plain("shop", "cart")
	a.Tags = map[string]string{}
	for i := range association.MaxTags + 1 {
		a.Tags[fmt.Sprint("k", i)] = "v"
	}
	_, err = s.Create(t.Context(), a)
	wantProblem(t, err, problem.TagLimit)
	a.Tags, a.Policy = nil, `{"Version":"2012-10-17","Statement":[]}`
	_, err = s.Create(t.Context(), a)
	wantProblem(t, err, problem.SessionPolicyInvalid)
	if all := walk(t, s, association.Filter{}, 100); len(all) != 0 {
		t.Errorf("stored all the same: %v", all)
	}
}

func createdAnew(t *testing.T, s association.Store) {
	a := plain("shop", "cart")
	a.Target = target
	first := create(t, s, a)
	if _, err := s.Delete(t.Context(), first.ID()); err != nil {
		t.Fatal(err)
	}
	second := create(t, s, a)
	if first.ID() == second.ID() || first.UID == second.UID {
		t.Errorf("the ID is %s again", first.ID())
	}
	if want := "eu-central-1/111122223333/lab/shop/cart"; first.ExternalID(cluster) != want || second.ExternalID(cluster) != want {
		t.Errorf("external IDs %q and %q, want %q", first.ExternalID(cluster), second.ExternalID(cluster), want)
	}
	_, err := s.Get(t.Context(), first.ID())
	wantProblem(t, err, problem.AssociationNotFound)
}

func cancelled(t *testing.T, s association.Store) {
	a := create(t, s, plain("shop", "cart"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, findErr := s.Find(ctx, "shop", "cart")
	_, getErr := s.Get(ctx, a.ID())
	_, _, listErr := s.List(ctx, association.Filter{}, "", 10)
	_, createErr := s.Create(ctx, plain("shop", "till"))
	_, updateErr := s.Update(ctx, a.ID(), func(a *podid.Association) error { a.Role = other; return nil })
	_, deleteErr := s.Delete(ctx, a.ID())
	for name, err := range map[string]error{"Find": findErr, "Get": getErr, "List": listErr,
		"Create": createErr, "Update": updateErr, "Delete": deleteErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", name, err, context.Canceled)
		}
	}
	if diff := cmp.Diff([]podid.Association{a}, walk(t, s, association.Filter{}, 10)); diff != "" {
		t.Errorf("something was done (-want +got):\n%s", diff)
	}
}

func copies(t *testing.T, s association.Store) {
	given := plain("shop", "cart")
	given.Tags = map[string]string{"team": "a"}
	spoil := func(a podid.Association) { a.Tags["team"] = "spoilt" }
	created := create(t, s, given)
	spoil(given)
	spoil(created)
	found, _ := s.Find(t.Context(), "shop", "cart")
	spoil(found)
	got, _ := s.Get(t.Context(), created.ID())
	spoil(got)
	spoil(walk(t, s, association.Filter{}, 10)[0])

	kept := map[string]string{"team": "b"}
	updated, err := s.Update(t.Context(), created.ID(), func(a *podid.Association) error {
		if a.Tags["team"] != "a" {
			t.Errorf("tags are %v, want those that were created", a.Tags)
		}
		a.Tags = kept
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	kept["team"] = "spoilt"
	spoil(updated)
	if _, err := s.Update(t.Context(), created.ID(), func(a *podid.Association) error {
		spoil(*a)
		return errors.New("no")
	}); err == nil {
		t.Error("the error of the change is lost")
	}
	if got, _ := s.Get(t.Context(), created.ID()); got.Tags["team"] != "b" {
		t.Errorf("tags are %v, want team=b", got.Tags)
	}
}

func limit(t *testing.T, s association.Store) {
	for i := range association.MaxAssociations {
		create(t, s, plain(fmt.Sprint("ns-", i%50), fmt.Sprint("sa-", i)))
	}
	_, err := s.Create(t.Context(), plain("shop", "cart"))
	wantProblem(t, err, problem.AssociationLimit)
	_, err = s.Create(t.Context(), plain("ns-0", "sa-0"))
	wantProblem(t, err, problem.AssociationExists)
	a, err := s.Find(t.Context(), "ns-7", "sa-7")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(t.Context(), a.ID()); err != nil {
		t.Fatal(err)
	}
	create(t, s, plain("shop", "cart"))
}

func plain(namespace, account string) podid.Association {
	return podid.Association{Namespace: namespace, ServiceAccount: account, Role: role}
}

func create(t *testing.T, s association.Store, a podid.Association) podid.Association {
	t.Helper()
	created, err := s.Create(t.Context(), a)
	if err != nil {
		t.Fatalf("create %s/%s: %v", a.Namespace, a.ServiceAccount, err)
	}
	return created
}

func wantProblem(t *testing.T, err error, code problem.Code) {
	t.Helper()
	if !problem.Is(err, code) {
		t.Errorf("error %v, want problem %s", err, code)
	}
}
