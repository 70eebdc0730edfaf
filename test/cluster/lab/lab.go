package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/openpodidentity/podid"
	podidv1 "github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/test/kube"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Name is the cluster's, and Namespace where podid is.
const (
	Name      = "lab"
	Namespace = "podid-system"
)

// Lab is a running cluster with an AWS beside it.
type Lab struct {
	*kube.Cluster
	AWS *AWS
	// Clients of an administrator; Objects knows podid's kinds.
	Client  kubernetes.Interface
	Objects client.Client
	// Identity is the cluster's, as AWS knows it.
	Identity podid.Cluster
	// Principal that podid was installed with.
	Principal Principal

	dir, podid string
	progress   io.Writer
}

// Options say what to start. Progress gets a line for what takes time.
type Options struct {
	Progress io.Writer
}

// Start starts a cluster of two nodes with an AWS, and gives the nodes the images. podid is not installed yet.
// Whoever calls it calls Stop.
func Start(ctx context.Context, o Options) (_ *Lab, err error) {
	if o.Progress == nil {
		o.Progress = os.Stderr
	}
	l := &Lab{Identity: podid.Cluster{Name: Name, Region: Region, Account: Account}, progress: o.Progress}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Stop())
		}
	}()
	log.SetLogger(logr.Discard()) // controller-runtime complains if nobody sets one
	if l.dir, err = os.MkdirTemp("", "podid-lab-"); err != nil {
		return nil, err
	}
	images := make(chan error, 1)
	go func() { images <- l.build(ctx) }() // while the cluster starts
	if l.Cluster, err = kube.StartCluster(ctx, kube.ClusterOptions{Nodes: 2, Options: kube.Options{Progress: o.Progress}}); err != nil {
		return nil, errors.Join(err, <-images)
	}
	if err := <-images; err != nil {
		return nil, err
	}
	if l.Client, err = kubernetes.NewForConfig(l.Config()); err != nil {
		return nil, err
	}
	kinds := runtime.NewScheme()
	if err := errors.Join(scheme.AddToScheme(kinds), podidv1.AddToScheme(kinds)); err != nil {
		return nil, err
	}
	if l.Objects, err = client.New(l.Config(), client.Options{Scheme: kinds}); err != nil {
		return nil, err
	}
	if l.AWS, err = startAWS(l.Network); err != nil {
		return nil, err
	}
	if err := l.AWS.fill(ctx); err != nil {
		return nil, err
	}
	return l, l.load(ctx)
}

// Stop ends everything.
func (l *Lab) Stop() error {
	var err error
	if l.Cluster != nil {
		err = l.Cluster.Stop()
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

func (l *Lab) say(format string, args ...any) { fmt.Fprintf(l.progress, "lab: "+format+"\n", args...) }

// File is the path of a file that ends with the lab.
func (l *Lab) File(name string) string { return filepath.Join(l.dir, name) }

// Eventually asks until is has no error, at most for the time given; the error is the last one then.
func Eventually(ctx context.Context, within time.Duration, is func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		err := is(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", within, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
