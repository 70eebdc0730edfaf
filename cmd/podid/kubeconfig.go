package main

import (
	"context"
	"errors"

	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/internal/install"
	"github.com/openpodidentity/podid/problem"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// kubeconfig is how a command gets to a cluster: as kubectl does, with the same flags.
type kubeconfig struct {
	file, context, namespace string
}

// flags adds --kubeconfig and --context.
func (k *kubeconfig) flags(c *cobra.Command) {
	c.Flags().StringVar(&k.file, "kubeconfig", "", "kubeconfig (default: $KUBECONFIG, or ~/.kube/config)")
	c.Flags().StringVar(&k.context, "context", "", "context of the kubeconfig (default: its current one)")
}

// podidNamespaceFlag is for who has installed podid with Helm elsewhere.
func podidNamespaceFlag(c *cobra.Command, namespace *string) {
	c.Flags().StringVar(namespace, "podid-namespace", install.Namespace, "namespace that podid is installed in")
}

func (k *kubeconfig) loader() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = k.file
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: k.context})
}

// config is the client configuration, without a rate limit: a command asks little.
func (k *kubeconfig) config() (*rest.Config, error) {
	config, err := k.loader().ClientConfig()
	if err != nil {
		p := problem.New(problem.ClusterUnreachable, "there is no cluster to talk to").Because("%v", err)
		if clientcmd.IsEmptyConfig(err) {
			p = p.Because("no kubeconfig says where one is")
		}
		return nil, p.Fixed("give --kubeconfig FILE and --context NAME, as with kubectl")
	}
	config.QPS = -1
	log.SetLogger(logr.Discard()) // controller-runtime complains if nobody sets one
	return config, nil
}

// client is a client of the API server that knows podid's kinds.
func (k *kubeconfig) client() (client.WithWatch, error) {
	config, err := k.config()
	if err != nil {
		return nil, err
	}
	known := runtime.NewScheme()
	must(scheme.AddToScheme(known))
	must(v1alpha1.AddToScheme(known))
	api, err := client.NewWithWatch(config, client.Options{Scheme: known})
	if err != nil {
		return nil, k.failed("reach the cluster", err)
	}
	return api, nil
}

// server is the API server's address, to tell clusters apart; empty if it is not known.
func (k *kubeconfig) server() string {
	config, err := k.loader().ClientConfig()
	if err != nil {
		return ""
	}
	return config.Host
}

// current is the namespace of -n, or else the context's.
func (k *kubeconfig) current() (string, error) {
	if k.namespace != "" {
		return k.namespace, nil
	}
	namespace, _, err := k.loader().Namespace()
	if err != nil {
		return "", problem.New(problem.ClusterUnreachable, "the kubeconfig cannot be read").Because("%v", err)
	}
	if namespace == "" {
		namespace = corev1.NamespaceDefault
	}
	return namespace, nil
}

// failed is the problem of a call to the API server; doing says what it was for.
func (k *kubeconfig) failed(doing string, err error) error {
	var status apierrors.APIStatus
	var told *problem.Problem
	switch {
	case errors.As(err, &told):
		return err
	case errors.Is(err, context.Canceled):
		return err
	case meta.IsNoMatchError(err):
		return problem.New(problem.InstallIncomplete, "cannot %s", doing).
			Because("the cluster does not know podid's kinds: podid is not installed there").
			Fixed("podid install").From(err)
	case apierrors.IsForbidden(err):
		return problem.New(problem.PermissionDenied, "you may not %s", doing).
			Because("%v", err).
			Fixed("ask an administrator of the cluster, or use another context")
	case apierrors.IsUnauthorized(err):
		return problem.New(problem.PermissionDenied, "the API server does not know you, so you may not %s", doing).
			Because("%v", err).
			Fixed("sign in to the cluster again, or use another context")
	case errors.As(err, &status):
		return problem.New(problem.ClusterUnreachable, "the API server does not %s", doing).Because("%v", err)
	}
	return problem.New(problem.ClusterUnreachable, "the API server cannot be asked to %s", doing).Because("%v", err)
}
