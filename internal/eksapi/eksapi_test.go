package eksapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/association/memory"
	"github.com/openpodidentity/podid/internal/awswire"
	"github.com/openpodidentity/podid/internal/eksapi"
	"github.com/openpodidentity/podid/problem"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

var cluster = podid.Cluster{Name: "lab_1", Region: "eu-central-1", Account: "111122223333"}

const (
	role       = "arn:aws:iam::111122223333:role/team/reader"
	otherRole  = "arn:aws:iam::111122223333:role/writer"
	targetRole = "arn:aws:iam::444455556666:role/target"
	clusterARN = "arn:aws:eks:eu-central-1:111122223333:cluster/lab_1"
	narrow     = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}]}`
)

var start = time.Date(2026, 2, 3, 4, 5, 6, 789e6, time.UTC)

// world is a handler over a real store, that remembers what it asked of Access.
type world struct {
	*eksapi.Handler
	store  *memory.Store
	client *eks.Client
	url    string

	mu    sync.Mutex
	asked []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	store, err := memory.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	now := start
	store.Now = func() time.Time { now = now.Add(time.Second); return now }
	w := &world{store: store}
	w.Handler = &eksapi.Handler{
		Cluster: cluster,
		Store:   store,
		Access: func(_ *http.Request, action, resource string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.asked = append(w.asked, action+" "+resource)
			return nil
		},
		PassRole: func(_ *http.Request, role podid.RoleARN) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.asked = append(w.asked, "iam:PassRole "+string(role))
			return nil
		},
	}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.client = eks.New(eks.Options{
		Region:           cluster.Region,
		BaseEndpoint:     aws.String(server.URL),
		Credentials:      credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		HTTPClient:       server.Client(),
		RetryMaxAttempts: 1,
	})
	return w
}

func (w *world) create(t *testing.T, namespace, account string) *types.PodIdentityAssociation {
	t.Helper()
	out, err := w.client.CreatePodIdentityAssociation(t.Context(), &eks.CreatePodIdentityAssociationInput{
		ClusterName: &cluster.Name, Namespace: &namespace, ServiceAccount: &account, RoleArn: aws.String(role)})
	if err != nil {
		t.Fatal(err)
	}
	return out.Association
}

var unexported = cmpopts.IgnoreTypes(middleware.Metadata{})

func TestTheLifeOfAnAssociation(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	created, err := w.client.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
		ClusterName: &cluster.Name, Namespace: aws.String("shop"), ServiceAccount: aws.String("cart.v2"), RoleArn: aws.String(role),
		TargetRoleArn: aws.String(targetRole), DisableSessionTags: aws.Bool(true), Policy: aws.String(narrow),
		Tags: map[string]string{"team": "a b", "empty": ""},
	})
	if err != nil {
		t.Fatal(err)
	}
	id := aws.ToString(created.Association.AssociationId)
	arn := "arn:aws:eks:eu-central-1:111122223333:podidentityassociation/lab_1/" + id
	want := &types.PodIdentityAssociation{
		ClusterName: aws.String("lab_1"), Namespace: aws.String("shop"), ServiceAccount: aws.String("cart.v2"),
		RoleArn: aws.String(role), AssociationArn: &arn, AssociationId: &id, Tags: map[string]string{"team": "a b", "empty": ""},
		CreatedAt: aws.Time(start.Add(time.Second)), ModifiedAt: aws.Time(start.Add(time.Second)), DisableSessionTags: aws.Bool(true),
		TargetRoleArn: aws.String(targetRole), ExternalId: aws.String("eu-central-1/111122223333/lab_1/shop/cart.v2"), Policy: aws.String(narrow),
	}
	check := func(name string, got *types.PodIdentityAssociation, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(types.PodIdentityAssociation{})); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	check("create", created.Association, nil)

	described, err := w.client.DescribePodIdentityAssociation(ctx, &eks.DescribePodIdentityAssociationInput{ClusterName: &cluster.Name, AssociationId: &id})
	check("describe", described.Association, err)

	updated, err := w.client.UpdatePodIdentityAssociation(ctx, &eks.UpdatePodIdentityAssociationInput{ClusterName: &cluster.Name, AssociationId: &id,
		RoleArn: aws.String(otherRole), TargetRoleArn: aws.String(""), Policy: aws.String(""), DisableSessionTags: aws.Bool(false)})
	want.RoleArn, want.TargetRoleArn, want.ExternalId, want.Policy = aws.String(otherRole), nil, nil, nil
	want.DisableSessionTags, want.ModifiedAt = aws.Bool(false), aws.Time(start.Add(2*time.Second))
	check("update", updated.Association, err)

	_, err = w.client.TagResource(ctx, &eks.TagResourceInput{ResourceArn: &arn, Tags: map[string]string{"team": "b", "tier:x/y": "1"}})
	if err != nil {
		t.Error(err)
	}
	tags, err := w.client.ListTagsForResource(ctx, &eks.ListTagsForResourceInput{ResourceArn: &arn})
	if diff := cmp.Diff(map[string]string{"team": "b", "empty": "", "tier:x/y": "1"}, tags.Tags); err != nil || diff != "" {
		t.Errorf("tags: %v (-want +got):\n%s", err, diff)
	}
	if _, err := w.client.UntagResource(ctx, &eks.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"team", "tier:x/y", "never there"}}); err != nil {
		t.Error(err)
	}
	want.Tags, want.ModifiedAt = map[string]string{"empty": ""}, aws.Time(start.Add(4*time.Second))

	listed, err := w.client.ListPodIdentityAssociations(ctx, &eks.ListPodIdentityAssociationsInput{ClusterName: &cluster.Name})
	if err != nil || len(listed.Associations) != 1 || listed.NextToken != nil {
		t.Fatalf("list: %+v, %v", listed, err)
	}
	wantSummary := types.PodIdentityAssociationSummary{ClusterName: want.ClusterName, Namespace: want.Namespace,
		ServiceAccount: want.ServiceAccount, AssociationArn: &arn, AssociationId: &id}
	if diff := cmp.Diff(wantSummary, listed.Associations[0], cmpopts.IgnoreUnexported(types.PodIdentityAssociationSummary{})); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}

	deleted, err := w.client.DeletePodIdentityAssociation(ctx, &eks.DeletePodIdentityAssociationInput{ClusterName: &cluster.Name, AssociationId: &id})
	check("delete", deleted.Association, err)
	_, err = w.client.DescribePodIdentityAssociation(ctx, &eks.DescribePodIdentityAssociationInput{ClusterName: &cluster.Name, AssociationId: &id})
	wantError[*types.ResourceNotFoundException](t, err, "No service account role association found for ID: "+id)

	asked := []string{
		"eks:CreatePodIdentityAssociation " + clusterARN, "iam:PassRole " + role,
		"eks:DescribePodIdentityAssociation " + arn,
		"eks:UpdatePodIdentityAssociation " + arn, "iam:PassRole " + otherRole,
		"eks:TagResource " + arn, "eks:ListTagsForResource " + arn, "eks:UntagResource " + arn,
		"eks:ListPodIdentityAssociations " + clusterARN,
		"eks:DeletePodIdentityAssociation " + arn, "eks:DescribePodIdentityAssociation " + arn,
	}
	if diff := cmp.Diff(asked, w.asked); diff != "" {
		t.Errorf("permissions asked (-want +got):\n%s", diff)
	}
}

// wantError checks an error of the SDK's own type for the exception.
func wantError[T error](t *testing.T, err error, says string) {
	t.Helper()
	e, ok := errors.AsType[T](err)
	if !ok {
		t.Errorf("error %v, want a %T", err, e)
		return
	}
	if api, ok := any(e).(smithy.APIError); ok && !strings.Contains(api.ErrorMessage(), says) {
		t.Errorf("message %q, want one with %q", api.ErrorMessage(), says)
	}
}

func TestACreateIsIdempotentByItsClientRequestToken(t *testing.T) {
	w := newWorld(t)
	create := func(account, role, token string) (*eks.CreatePodIdentityAssociationOutput, error) {
		in := &eks.CreatePodIdentityAssociationInput{ClusterName: &cluster.Name, Namespace: aws.String("shop"),
			ServiceAccount: &account, RoleArn: &role, ClientRequestToken: &token}
		return w.client.CreatePodIdentityAssociation(t.Context(), in)
	}
	token := strings.Repeat("a", 36)
	first, err := create("cart", role, token)
	if err != nil {
		t.Fatal(err)
	}
	again, err := create("till", otherRole, token)
	if diff := cmp.Diff(first, again, unexported, cmpopts.IgnoreUnexported(eks.CreatePodIdentityAssociationOutput{}, types.PodIdentityAssociation{})); err != nil || diff != "" {
		t.Errorf("%v (-first +again):\n%s", err, diff)
	}
	_, err = create("cart", role, strings.Repeat("b", 36))
	wantError[*types.ResourceInUseException](t, err, "Association already exists: "+*first.Association.AssociationId)
	for _, token := range []string{"short", strings.Repeat("x", 127)} {
		_, err = create("cart", role, token)
		wantError[*types.InvalidParameterException](t, err, "The client request token parameter must be between 33 and 126 characters.")
	}
}

func TestTheListComesInPages(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		w.create(t, "shop", fmt.Sprint("sa-", i))
	}
	w.create(t, "bank", "sa-3")
	pages := eks.NewListPodIdentityAssociationsPaginator(w.client, &eks.ListPodIdentityAssociationsInput{ClusterName: &cluster.Name, MaxResults: aws.Int32(3)})
	var sizes []int
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(page.Associations))
	}
	if !slices.Equal(sizes, []int{3, 3, 2}) {
		t.Errorf("pages of %v", sizes)
	}
	for _, filter := range []struct {
		in   eks.ListPodIdentityAssociationsInput
		want int
	}{
		{eks.ListPodIdentityAssociationsInput{Namespace: aws.String("shop")}, 7},
		{eks.ListPodIdentityAssociationsInput{ServiceAccount: aws.String("sa-3")}, 2},
		{eks.ListPodIdentityAssociationsInput{Namespace: aws.String("bank"), ServiceAccount: aws.String("sa-3")}, 1},
		{eks.ListPodIdentityAssociationsInput{Namespace: aws.String("none")}, 0},
	} {
		filter.in.ClusterName = &cluster.Name
		out, err := w.client.ListPodIdentityAssociations(t.Context(), &filter.in)
		if err != nil || len(out.Associations) != filter.want || out.Associations == nil {
			t.Errorf("%v: %+v, want %d", err, out, filter.want)
		}
	}
	for _, bad := range []eks.ListPodIdentityAssociationsInput{
		{MaxResults: aws.Int32(101)}, {MaxResults: aws.Int32(0)}, {NextToken: aws.String("made up")},
	} {
		bad.ClusterName = &cluster.Name
		_, err := w.client.ListPodIdentityAssociations(t.Context(), &bad)
		wantError[*types.InvalidParameterException](t, err, "")
	}
}

func TestBadInputIsRefusedByName(t *testing.T) {
	w := newWorld(t)
	id := *w.create(t, "shop", "cart").AssociationId
	associations := "/clusters/lab_1/pod-identity-associations"
	ok := `"namespace":"shop","serviceAccount":"till","roleArn":"` + role + `"`
	for _, test := range []struct {
		name, method, path, body string
		exception                string
		says                     string
	}{
		{"another cluster", "GET", "/clusters/other", "", "ResourceNotFoundException", "No cluster found for name: other."},
		{"another cluster's associations", "GET", "/clusters/other/pod-identity-associations", "", "ResourceNotFoundException", "No cluster found for name: other."},
		{"no cluster name", "GET", "/clusters/-x/pod-identity-associations", "", "InvalidParameterException", "name of a cluster"},
		{"an ID that is none", "GET", associations + "/x", "", "InvalidParameterException", `"x" is not the ID`},
		{"an unknown ID", "DELETE", associations + "/a-00000000000000000", "", "ResourceNotFoundException", "No service account role association found for ID: a-00000000000000000"},
		{"update of an unknown ID", "POST", associations + "/a-00000000000000000", `{"disableSessionTags":true}`, "ResourceNotFoundException", "No service account role association found"},
		{"no body", "POST", associations, "", "InvalidParameterException", "not a JSON object"},
		{"null", "POST", associations, "null", "InvalidParameterException", "not a JSON object"},
		{"two objects", "POST", associations, "{}{}", "InvalidParameterException", "not a JSON object"},
		{"an empty object", "POST", associations, "{}", "InvalidParameterException", "namespace is missing"},
		{"a number", "POST", associations, `{"namespace":1}`, "InvalidParameterException", "namespace is not a string"},
		{"a string for a boolean", "POST", associations, `{"disableSessionTags":"true"}`, "InvalidParameterException", "disableSessionTags is not a boolean"},
		{"a list of tags", "POST", associations, `{"tags":[]}`, "InvalidParameterException", "tags is not an object of strings"},
		{"a newer field", "POST", associations, `{` + ok + `,"newFeature":1}`, "InvalidParameterException", `"newFeature"`},
		{"a field in another case", "POST", associations, `{` + ok + `,"RoleArn":""}`, "InvalidParameterException", `"RoleArn"`},
		{"a bad namespace", "POST", associations, strings.Replace(`{`+ok+`}`, "shop", "Shop", 1), "InvalidParameterException", "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
		{"an empty client token", "POST", associations, `{` + ok + `,"clientRequestToken":""}`, "InvalidParameterException", "between 33 and 126"},
		{"a role of another account", "POST", associations, strings.Replace(`{`+ok+`}`, "111122223333", "444455556666", 1), "AccessDeniedException", "Cross-account pass role is not allowed."},
		{"a role of another partition", "POST", associations, strings.Replace(`{`+ok+`}`, "arn:aws:", "arn:aws-cn:", 1), "InvalidParameterException", "partition aws"},
		{"a target of another partition", "POST", associations, `{` + ok + `,"targetRoleArn":"arn:aws-cn:iam::444455556666:role/x"}`, "InvalidParameterException", "targetRoleArn"},
		{"a policy and tags", "POST", associations, `{` + ok + `,"policy":"{}"}`, "InvalidParameterException", "disableSessionTags"},
		{"a reserved tag", "POST", associations, `{` + ok + `,"tags":{"aws:x":"y"}}`, "InvalidParameterException", "reserved"},
		{"too much", "POST", associations, `{"namespace":"` + strings.Repeat("x", 70_000) + `"}`, "InvalidParameterException", "larger than 65536"},
		{"nothing to update", "POST", associations + "/" + id, "{}", "InvalidParameterException", "There is nothing to update"},
		{"a namespace in an update", "POST", associations + "/" + id, `{"namespace":"x"}`, "InvalidParameterException", "cannot be changed"},
		{"no role in an update", "POST", associations + "/" + id, `{"roleArn":""}`, "InvalidParameterException", "roleArn"},
		{"a user in an update", "POST", associations + "/" + id, `{"targetRoleArn":"arn:aws:iam::111122223333:user/x"}`, "InvalidParameterException", "targetRoleArn"},
		{"maxResults", "GET", associations + "?maxResults=ten", "", "InvalidParameterException", `"ten"`},
		{"a bad query", "GET", associations + "?namespace=%zz", "", "InvalidParameterException", "badly encoded"},
		{"a cluster list's token", "GET", "/clusters?nextToken=x", "", "InvalidParameterException", "nextToken"},
		{"tags of nothing", "GET", "/tags/x", "", "BadRequestException", "not the ARN"},
		{"tags of another cluster's association", "GET", "/tags/arn:aws:eks:eu-central-1:111122223333:podidentityassociation%2Fother%2Fa-00000000000000000", "", "NotFoundException", "There is no resource"},
		{"tags of no association", "POST", "/tags/arn:aws:eks:eu-central-1:111122223333:podidentityassociation%2Flab_1%2Fa-00000000000000000", `{"tags":{"a":"b"}}`, "NotFoundException", "a-00000000000000000"},
		{"no tags", "POST", "/tags/" + clusterARN, "{}", "BadRequestException", "tags is missing"},
		{"no tag keys", "DELETE", "/tags/" + clusterARN, "", "BadRequestException", "tagKeys"},
		{"a cluster's tags", "POST", "/tags/" + clusterARN, `{"tags":{"a":"b"}}`, "NotImplemented", "TagResource for a cluster"},
		{"an operation podid has not", "POST", "/clusters", "{}", "NotImplemented", "CreateCluster"},
		{"another", "GET", "/clusters/lab_1/access-entries/arn%3Aaws%3Aiam%3A%3A1%3Auser%2Fx/access-policies", "", "NotImplemented", "ListAssociatedAccessPolicies"},
		{"an operation nobody has", "PUT", "/what/is%20this", "", "NotImplemented", "PUT /what/is%20this"},
		{"a path with a line break", "GET", "/clusters/a%0ab", "", "InvalidParameterException", "badly encoded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), test.method, w.url+test.path, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			if got := response.Header.Get("X-Amzn-Errortype"); got != test.exception || !strings.Contains(string(body), jsonText(test.says)) {
				t.Errorf("%d %s: %s\nwant %s that says %q", response.StatusCode, got, body, test.exception, test.says)
			}
			for _, vague := range []string{"of the wrong type or out of", "breaks a rule of the EKS API"} {
				if strings.Contains(string(body), vague) {
					t.Errorf("%s: says why in general: %s", test.says, body)
				}
			}
		})
	}
	if all, _, err := w.store.List(t.Context(), struct{ Namespace, ServiceAccount string }{}, "", 10); err != nil || len(all) != 1 {
		t.Errorf("%v, %v: want the one association as it was", all, err)
	}
}

func jsonText(s string) string { return strings.ReplaceAll(s, `"`, `\"`) }

func TestAnARNMayComeWithItsSlashesBare(t *testing.T) {
	w := newWorld(t)
	a := w.create(t, "shop", "cart")
	for _, path := range []string{*a.AssociationArn, strings.ReplaceAll(strings.ReplaceAll(*a.AssociationArn, ":", "%3A"), "/", "%2f")} {
		response, err := http.Get(w.url + "/tags/" + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
}

func TestNoPermissionMeansNoAnswer(t *testing.T) {
	w := newWorld(t)
	a := w.create(t, "shop", "cart")
	const text = "User: arn:aws:iam::111122223333:user/x is not authorized to perform: something on resource: something"
	refuse := awswire.Errorf(http.StatusForbidden, "AccessDenied", text)
	w.Access = func(*http.Request, string, string) error { return refuse }
	ctx, c := t.Context(), w.client
	_, createErr := c.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{ClusterName: &cluster.Name,
		Namespace: aws.String("x"), ServiceAccount: aws.String("y"), RoleArn: aws.String(role)})
	_, describeErr := c.DescribePodIdentityAssociation(ctx, &eks.DescribePodIdentityAssociationInput{ClusterName: &cluster.Name, AssociationId: a.AssociationId})
	_, updateErr := c.UpdatePodIdentityAssociation(ctx, &eks.UpdatePodIdentityAssociationInput{ClusterName: &cluster.Name, AssociationId: a.AssociationId, RoleArn: aws.String(otherRole)})
	_, deleteErr := c.DeletePodIdentityAssociation(ctx, &eks.DeletePodIdentityAssociationInput{ClusterName: &cluster.Name, AssociationId: a.AssociationId})
	_, listErr := c.ListPodIdentityAssociations(ctx, &eks.ListPodIdentityAssociationsInput{ClusterName: &cluster.Name})
	_, tagErr := c.TagResource(ctx, &eks.TagResourceInput{ResourceArn: a.AssociationArn, Tags: map[string]string{"a": "b"}})
	_, untagErr := c.UntagResource(ctx, &eks.UntagResourceInput{ResourceArn: a.AssociationArn, TagKeys: []string{"a"}})
	_, tagsErr := c.ListTagsForResource(ctx, &eks.ListTagsForResourceInput{ResourceArn: a.AssociationArn})
	_, clusterErr := c.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: &cluster.Name})
	_, otherErr := c.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("other")})
	_, clustersErr := c.ListClusters(ctx, &eks.ListClustersInput{})
	for _, err := range []error{createErr, describeErr, updateErr, deleteErr, listErr, tagErr, untagErr, tagsErr, clusterErr, otherErr, clustersErr} {
		// The model does not list it for every operation, so the SDK's type may be the general one.
		if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "AccessDeniedException" || api.ErrorMessage() != text {
			t.Errorf("error %v", err)
		}
	}
	if got, err := w.store.Get(ctx, *a.AssociationId); err != nil || string(got.Role) != role || got.Tags != nil {
		t.Errorf("%+v, %v: want it as it was", got, err)
	}
	w.Access = nil
	if _, err := c.ListClusters(ctx, &eks.ListClustersInput{}); err == nil {
		t.Error("without Access anybody may")
	}
}

func TestARoleIsPassedAndChecked(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, "shop", "cart").AssociationId
	create := func() error {
		_, err := w.client.CreatePodIdentityAssociation(t.Context(), &eks.CreatePodIdentityAssociationInput{ClusterName: &cluster.Name,
			Namespace: aws.String("x"), ServiceAccount: aws.String("y"), RoleArn: aws.String(otherRole)})
		return err
	}
	update := func() error {
		_, err := w.client.UpdatePodIdentityAssociation(t.Context(), &eks.UpdatePodIdentityAssociationInput{ClusterName: &cluster.Name,
			AssociationId: id, RoleArn: aws.String(otherRole)})
		return err
	}
	checks := map[podid.RoleARN]error{otherRole: problem.New(problem.RoleMissing, "role %s does not exist", otherRole)}
	w.Check = func(_ context.Context, role podid.RoleARN) error { return checks[role] }
	wantError[*types.InvalidParameterException](t, create(), "Role provided in the request does not exist")
	wantError[*types.InvalidParameterException](t, update(), "Role provided in the request does not exist")
	checks[otherRole] = problem.New(problem.TrustInvalid, "the trust policy does not allow sts:TagSession")
	for _, err := range []error{create(), update()} {
		wantError[*types.InvalidParameterException](t, err,
			"Trust policy of the role provided is invalid. Follow the official documentation to resolve the issue. The trust policy does not allow sts:TagSession.")
	}
	w.PassRole = func(*http.Request, podid.RoleARN) error {
		return awswire.Errorf(http.StatusForbidden, "AccessDenied", "not authorized to perform: iam:PassRole")
	}
	for _, err := range []error{create(), update()} {
		if api, ok := errors.AsType[smithy.APIError](err); !ok || api.ErrorCode() != "AccessDeniedException" || !strings.Contains(api.ErrorMessage(), "iam:PassRole") {
			t.Errorf("error %v", err)
		}
	}
	if got, err := w.store.Get(t.Context(), *id); err != nil || string(got.Role) != role {
		t.Errorf("%+v, %v: want it as it was", got, err)
	}
}

func TestTheClusterIsDescribedByWhatIsKnown(t *testing.T) {
	w := newWorld(t)
	out, err := w.client.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &cluster.Name})
	if err != nil {
		t.Fatal(err)
	}
	want := &types.Cluster{Name: &cluster.Name, Arn: aws.String(clusterARN), Status: types.ClusterStatusActive, Tags: map[string]string{}, CreatedAt: aws.Time(time.Unix(0, 0).UTC())}
	unexported := cmpopts.IgnoreUnexported(types.Cluster{}, types.Certificate{}, types.Identity{}, types.OIDC{})
	if diff := cmp.Diff(want, out.Cluster, unexported); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.About = eksapi.About{Version: "1.34", Endpoint: "https://10.0.0.1:6443", Authority: []byte("PEM"), Issuer: "https://issuer", CreatedAt: start}
	out, err = w.client.DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: &cluster.Name})
	if err != nil {
		t.Fatal(err)
	}
	want.Version, want.Endpoint, want.CreatedAt = aws.String("1.34"), aws.String("https://10.0.0.1:6443"), &start
	want.CertificateAuthority = &types.Certificate{Data: aws.String("UEVN")}
	want.Identity = &types.Identity{Oidc: &types.OIDC{Issuer: aws.String("https://issuer")}}
	if diff := cmp.Diff(want, out.Cluster, unexported); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	list, err := w.client.ListClusters(t.Context(), &eks.ListClustersInput{MaxResults: aws.Int32(5)})
	if err != nil || !slices.Equal(list.Clusters, []string{"lab_1"}) {
		t.Errorf("%+v, %v", list, err)
	}
	tags, err := w.client.ListTagsForResource(t.Context(), &eks.ListTagsForResourceInput{ResourceArn: aws.String(clusterARN)})
	if err != nil || len(tags.Tags) != 0 {
		t.Errorf("%+v, %v", tags, err)
	}
}

func TestTooManyTagsAreRefusedByEachDoor(t *testing.T) {
	w := newWorld(t)
	a := w.create(t, "shop", "cart")
	add := func(prefix string, n int) error {
		tags := map[string]string{}
		for i := range n {
			tags[fmt.Sprint(prefix, i)] = ""
		}
		_, err := w.client.TagResource(t.Context(), &eks.TagResourceInput{ResourceArn: a.AssociationArn, Tags: tags})
		return err
	}
	if err := add("a", 50); err != nil {
		t.Fatal(err)
	}
	if err := add("a", 50); err != nil {
		t.Errorf("the same keys again: %v", err)
	}
	wantError[*types.BadRequestException](t, add("b", 1), "51 tags")
}
