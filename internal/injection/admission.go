package injection

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/problem"
)

// Associations finds the association of a service account: association-missing
// if there is none. Any other error means that nobody could tell, so an
// implementation with a cache reads through it before it says missing.
type Associations interface {
	Find(ctx context.Context, namespace, serviceAccount string) (podid.Association, error)
}

// ServiceAccounts reads the annotations of a service account; none if it does
// not exist.
type ServiceAccounts interface {
	Annotations(ctx context.Context, namespace, name string) (map[string]string, error)
}

// Webhook answers the API server's AdmissionReviews of new pods
// (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/).
//
// A pod is refused only if it is labelled podid.dev/require: "true" and would go
// without, or nobody could tell whether it must. Any other pod is admitted,
// and what went wrong is said in a warning. What cannot be answered at all gets
// an HTTP error, and is then for the failure policy of the webhook's
// configuration to decide.
type Webhook struct {
	Associations Associations
	// ServiceAccounts may be nil: then annotations of service accounts are not
	// heeded.
	ServiceAccounts ServiceAccounts
	Settings        Settings
	// Timeout bounds the look-ups of a request: 1.5 s if 0. Keep it below the
	// timeoutSeconds of the webhook's configuration, or nobody hears the answer.
	Timeout time.Duration
	// Metrics may be nil.
	Metrics *Metrics
	// Log gets a line for each request: debug for pods that need nothing.
	Log *slog.Logger
}

const (
	defaultTimeout = 1500 * time.Millisecond
	// maxReview holds the largest request that the API server takes, 3 MiB,
	// with room for JSON's longer form.
	maxReview = 8 << 20
)

// ServeHTTP answers one AdmissionReview of version admission.k8s.io/v1.
func (h *Webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	review, status, err := h.read(w, r)
	if err != nil {
		h.Metrics.unanswered()
		h.logger().WarnContext(r.Context(), "admission", "outcome", "unanswered", "status", status, "cause", err.Error(), "remote", r.RemoteAddr)
		http.Error(w, err.Error(), status)
		return
	}
	a := h.answer(r.Context(), review.Request)
	a.response.UID = review.Request.UID
	took := time.Since(began)
	h.log(r.Context(), review.Request, a, took)
	h.Metrics.count(a, took)
	// The API server wants the type it sent.
	body, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: &a.response})
	if err != nil {
		http.Error(w, "the answer cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// read takes the request apart, or says with which status it is refused.
func (h *Webhook) read(w http.ResponseWriter, r *http.Request) (*admissionv1.AdmissionReview, int, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, http.StatusMethodNotAllowed, errors.New("an AdmissionReview is POSTed")
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, http.StatusUnsupportedMediaType, errors.New("the content type is not application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReview))
	if err != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, http.StatusRequestEntityTooLarge, tooLarge
		}
		return nil, http.StatusBadRequest, errors.New("the body could not be read")
	}
	var review admissionv1.AdmissionReview
	if err := kjson.UnmarshalCaseSensitivePreserveInts(body, &review); err != nil {
		return nil, http.StatusBadRequest, errors.New("the body is not an AdmissionReview in JSON")
	}
	want := admissionv1.SchemeGroupVersion.String()
	if review.APIVersion != want || review.Kind != "AdmissionReview" {
		return nil, http.StatusBadRequest, errors.New("only AdmissionReviews of " + want + " are answered: set admissionReviewVersions: [v1]")
	}
	if review.Request == nil || review.Request.UID == "" {
		return nil, http.StatusBadRequest, errors.New("the AdmissionReview has no request with a uid")
	}
	return &review, 0, nil
}

// answer is what the API server is told, and what the log line says of it.
type answer struct {
	response admissionv1.AdmissionResponse
	outcome  string
	account  string
	pod      *corev1.Pod
	result   Result
	err      error
}

// podKind is what the webhook is to be asked about.
var podKind = metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}

func (h *Webhook) answer(ctx context.Context, request *admissionv1.AdmissionRequest) answer {
	a := answer{response: admissionv1.AdmissionResponse{Allowed: true}, outcome: "left-alone"}
	if request.Kind != podKind || request.SubResource != "" || request.Operation != admissionv1.Create {
		a.err = problem.New(problem.RequestInvalid, "podid-webhook was asked about another thing than a new pod").
			Because("it was asked about %s of %s %s", request.Operation, request.Kind.Kind, request.SubResource).
			Fixed("have the webhook's rules name CREATE of pods alone")
		a.warn(problem.Of(a.err).What)
		return a
	}
	pod := new(corev1.Pod)
	if err := kjson.UnmarshalCaseSensitivePreserveInts(request.Object.Raw, pod); err != nil {
		a.err = problem.New(problem.RequestInvalid, "the pod cannot be read").From(err)
		a.decide(requiredOf(request.Object.Raw))
		return a
	}
	// The API server fills the namespace in only after it has asked.
	pod.Namespace = request.Namespace
	a.pod, a.account = pod, ServiceAccount(pod)
	if a.result.Reason = exempt(pod, h.Settings); a.result.Reason != "" {
		return a
	}
	required := pod.Labels[RequireLabel] == "true"
	account, err := h.lookUp(ctx, pod.Namespace, a.account, &a)
	if err != nil {
		a.err = err
		a.decide(required)
		return a
	}
	a.result = Inject(pod, account, h.Settings)
	a.response.Warnings = append(a.response.Warnings, a.result.Warnings...)
	if a.result.Reason != "" {
		if required {
			a.err = refusal(pod, a.account, a.result)
			a.decide(required)
		}
		return a
	}
	a.outcome = "had-all"
	if !a.result.Changed {
		return a
	}
	if a.response.Patch, a.err = patch(pod, a.result.Pod); a.err != nil {
		a.decide(required)
		return a
	}
	a.outcome = "injected"
	a.response.PatchType = new(admissionv1.PatchTypeJSONPatch)
	return a
}

// lookUp is what is known of a service account, or why nobody knows.
func (h *Webhook) lookUp(ctx context.Context, namespace, name string, a *answer) (Account, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(h.Timeout, defaultTimeout))
	defer cancel()
	var account Account
	association, err := h.Associations.Find(ctx, namespace, name)
	switch {
	case err == nil:
		account.Association = &association
	case !problem.Is(err, problem.AssociationMissing):
		return account, unknown("the association of service account %s/%s could not be looked up", namespace, name).From(err)
	case !h.Settings.IRSA:
		return account, nil
	}
	if h.ServiceAccounts == nil {
		return account, nil
	}
	account.Annotations, err = h.ServiceAccounts.Annotations(ctx, namespace, name)
	if err == nil {
		return account, nil
	}
	p := unknown("the annotations of service account %s/%s could not be read", namespace, name).From(err)
	if account.Association == nil {
		return account, p // IRSA's door is one of them
	}
	a.err = p
	a.warn(p.What + "; its token's life and STS mode are the cluster's")
	return account, nil
}

func unknown(format string, args ...any) *problem.Problem {
	return problem.New(problem.ClusterUnavailable, format, args...).
		Because("podid-webhook cannot tell whether the pod must get AWS credentials").
		Fixed("create the pod again; if that does not help, look at podid-webhook's log and its way to the API server")
}

// decide says no to a pod that is required to have credentials and warns of any
// other, given that there is an error.
func (a *answer) decide(required bool) {
	p := problem.Of(a.err)
	if !required {
		a.outcome = "undecided"
		a.warn(p.What + `: the pod is admitted, and may get no AWS credentials (` + RequireLabel + `: "true" has such pods refused)`)
		return
	}
	a.outcome = "refused"
	a.response.Allowed = false
	a.response.Result = &metav1.Status{
		Status: metav1.StatusFailure, Message: p.Message(),
		Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: metav1.CauseType(p.Code), Message: p.What}}},
	}
	switch problem.Lookup(p.Code).Kind {
	case problem.Transient:
		a.response.Result.Code, a.response.Result.Reason = http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable
	case problem.Broken:
		a.response.Result.Code, a.response.Result.Reason = http.StatusInternalServerError, metav1.StatusReasonInternalError
	}
}

func (a *answer) warn(text string) {
	a.response.Warnings = append(a.response.Warnings, cut("podid: "+text))
}

// refusal is why a pod that must have credentials cannot have them.
func refusal(pod *corev1.Pod, account string, result Result) *problem.Problem {
	const label = "the pod's label " + RequireLabel + ` has it refused rather than run without AWS credentials`
	switch result.Reason {
	case NoAssociation:
		return problem.New(problem.AssociationMissing, "service account %s/%s has no association", pod.Namespace, account).Because(label).
			Fixed("create a PodIdentityAssociation named %s in namespace %s, or remove the label", account, pod.Namespace)
	case WindowsPod:
		return problem.New(problem.RequestInvalid, "podid gives credentials to Linux pods only").Because(label).
			Fixed("run the pod on Linux, or remove the label")
	case RoleInvalid:
		return problem.New(problem.RequestInvalid, "the annotation %s of service account %s/%s is no role", AnnotationRole, pod.Namespace, account).
			Because(label).Fixed("correct the annotation")
	case VolumeTaken:
		return problem.New(problem.RequestInvalid, "a volume of the pod has the name of podid's, and is another").Because(label).
			Fixed("rename the pod's own volume")
	}
	return problem.New(problem.RequestInvalid, "every container of the pod is skipped, or mounts something else where the token belongs").Because(label).
		Fixed("shorten the annotation %s, or mount elsewhere", AnnotationSkipContainers)
}

// requiredOf reads the one label of a pod that cannot be read as a whole.
func requiredOf(raw []byte) bool {
	var pod struct {
		Metadata struct {
			Labels map[string]any `json:"labels"`
		} `json:"metadata"`
	}
	// What cannot be read even so is refused by the API server.
	_ = json.Unmarshal(raw, &pod)
	return pod.Metadata.Labels[RequireLabel] == "true"
}

func (h *Webhook) logger() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

func (h *Webhook) log(ctx context.Context, request *admissionv1.AdmissionRequest, a answer, took time.Duration) {
	level := slog.LevelInfo
	if a.outcome == "left-alone" && len(a.response.Warnings) == 0 {
		level = slog.LevelDebug
	}
	name := request.Name
	if name == "" && a.pod != nil {
		name = a.pod.GenerateName
	}
	attrs := []slog.Attr{
		slog.String("outcome", a.outcome), slog.String("request", string(request.UID)),
		slog.String("namespace", request.Namespace), slog.String("pod", name), slog.String("service_account", a.account),
		slog.Duration("took", took),
	}
	if a.result.Reason != "" {
		attrs = append(attrs, slog.String("reason", string(a.result.Reason)))
	}
	if request.DryRun != nil && *request.DryRun {
		attrs = append(attrs, slog.Bool("dry_run", true))
	}
	if len(a.response.Warnings) > 0 {
		attrs = append(attrs, slog.Any("warnings", a.response.Warnings))
	}
	if a.err != nil {
		level = slog.LevelWarn
		attrs = append(attrs, problem.Of(a.err).Attrs()...)
	}
	h.logger().LogAttrs(ctx, level, "admission", attrs...)
}
