// Package injectiontest reads the cases of injection: a pod, what is known of its
// service account, and the whole pod that is wanted. Every way to inject (Go, the
// webhook behind an API server, the policies in CEL) runs the same cases.
package injectiontest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/openpodidentity/podid"
)

// DefaultSettings are the cluster's settings where a case has none.
const DefaultSettings = "region: eu-central-1\nnamespace: podid-system\n"

// Case is one file of testdata: a comment that says what it shows, and the
// files pod.yaml, association.yaml and serviceaccount.yaml (or none),
// settings.yaml (or DefaultSettings), want.yaml and warnings, one a line.
type Case struct {
	Name string // the file's, without its end
	// WebhookOnly says why policies in CEL cannot do it; empty if they can. The
	// comment has it in a line "webhook only: REASON".
	WebhookOnly string

	Pod         *corev1.Pod
	Association *podid.Association
	// ServiceAccount has the annotations of the pod's service account.
	ServiceAccount *corev1.ServiceAccount
	// Settings are an injection.Settings in YAML.
	Settings []byte

	Want     *corev1.Pod
	Warnings []string

	file    string
	archive *txtar.Archive
}

// Load reads the cases of a folder.
func Load(dir string) ([]Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no cases in %s: %w", dir, os.ErrNotExist)
	}
	var cases []Case
	for _, file := range files {
		c, err := load(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		cases = append(cases, c)
	}
	return cases, nil
}

func load(file string) (Case, error) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		return Case{}, err
	}
	c := Case{
		Name: strings.TrimSuffix(filepath.Base(file), ".txtar"), file: file, archive: archive,
		ServiceAccount: new(corev1.ServiceAccount), Settings: []byte(DefaultSettings),
	}
	for line := range strings.Lines(string(archive.Comment)) {
		if reason, ok := strings.CutPrefix(strings.TrimSpace(line), "webhook only: "); ok {
			c.WebhookOnly = reason
		}
	}
	for _, f := range archive.Files {
		var err error
		switch f.Name {
		case "pod.yaml":
			c.Pod = new(corev1.Pod)
			err = yaml.UnmarshalStrict(f.Data, c.Pod)
		case "association.yaml":
			c.Association, err = association(f.Data)
		case "serviceaccount.yaml":
			err = yaml.UnmarshalStrict(f.Data, c.ServiceAccount)
		case "settings.yaml":
			c.Settings = f.Data
		case "want.yaml":
			c.Want = new(corev1.Pod)
			err = yaml.UnmarshalStrict(f.Data, c.Want)
		case "warnings":
			c.Warnings = strings.FieldsFunc(string(f.Data), func(r rune) bool { return r == '\n' })
		default:
			err = fmt.Errorf("a case has no such file")
		}
		if err != nil {
			return c, fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	if c.Pod == nil {
		return c, fmt.Errorf("pod.yaml is missing")
	}
	return c, nil
}

// association reads what a PodIdentityAssociation says that matters here.
func association(text []byte) (*podid.Association, error) {
	var object struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct{ Namespace, Name string }
		Spec       struct {
			RoleARN podid.RoleARN `json:"roleARN"`
		} `json:"spec"`
	}
	if err := yaml.UnmarshalStrict(text, &object); err != nil {
		return nil, err
	}
	return &podid.Association{Namespace: object.Metadata.Namespace, ServiceAccount: object.Metadata.Name, Role: object.Spec.RoleARN}, nil
}

// Update writes what became of the pod into the case's file.
func (c Case) Update(pod *corev1.Pod, warnings []string) error {
	text, err := write(pod)
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	for _, warning := range warnings {
		fmt.Fprintln(&lines, warning)
	}
	c.archive.Files = append(without(c.archive.Files, "want.yaml", "warnings"),
		txtar.File{Name: "want.yaml", Data: text}, txtar.File{Name: "warnings", Data: lines.Bytes()})
	return os.WriteFile(c.file, txtar.Format(c.archive), 0o600)
}

func without(files []txtar.File, names ...string) (kept []txtar.File) {
	for _, f := range files {
		if f.Name != names[0] && f.Name != names[1] {
			kept = append(kept, f)
		}
	}
	return kept
}

// write is a pod as people write it: without the empty fields that Go adds.
func write(pod *corev1.Pod) ([]byte, error) {
	text, err := yaml.Marshal(pod)
	if err != nil {
		return nil, err
	}
	var kept []string
	for line := range strings.Lines(string(text)) {
		if line != "status: {}\n" && strings.TrimLeft(line, " ") != "resources: {}\n" {
			kept = append(kept, line)
		}
	}
	return []byte(strings.Join(kept, "")), nil
}

// Comment says what the case shows.
func (c Case) Comment() string { return string(c.archive.Comment) }
