package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/api/v1alpha1"
	"github.com/openpodidentity/podid/cmd/internal/replica"
	"github.com/openpodidentity/podid/internal/accesskey"
	"github.com/openpodidentity/podid/internal/association"
	"github.com/openpodidentity/podid/internal/association/annotation"
	"github.com/openpodidentity/podid/internal/association/kube"
	"github.com/openpodidentity/podid/internal/auth"
	"github.com/openpodidentity/podid/internal/eksapi"
	"github.com/openpodidentity/podid/internal/event"
	"github.com/openpodidentity/podid/internal/informer"
	"github.com/openpodidentity/podid/internal/roles"
	"github.com/openpodidentity/podid/internal/settings"
	"github.com/openpodidentity/podid/internal/token"
	tokenkube "github.com/openpodidentity/podid/internal/token/kube"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// serving is what a replica answers with, once it has read the cluster.
type serving struct {
	handler *auth.Handler
	eks     http.Handler // nil if it is switched off
}

// cluster is what is known of the cluster, by watches.
type cluster struct {
	informers    cache.Cache
	api          client.Client
	associations association.Store
	pods         *tokenkube.Pods
	keys         *token.Remote
	issuer       string
	nodes        *auth.Nodes
	news         *auth.News
	follow       []func(context.Context) // what runs beside the watches
	synced       []func() bool
}

// follow answers by what the API server tells, until ctx ends.
func (r *server) follow(ctx context.Context, set settings.Settings, assumer *roles.Assumer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c, err := r.watch(ctx, set)
	if err != nil {
		return err
	}
	s := &serving{handler: r.handler(set, c, assumer)}
	if set.EKSAPI || set.SigV4Agents {
		door, err := r.door(ctx, set, c)
		if err != nil {
			return err
		}
		if set.EKSAPI {
			s.eks = r.eksAPI(set, c, door, assumer)
		}
		if set.SigV4Agents {
			s.handler.SigV4, s.handler.Permit = door.Agents(), door.MayExchange
		}
	}
	for _, f := range c.follow {
		go f(ctx)
	}
	go func() {
		for _, synced := range c.synced {
			if !replica.Until(ctx, synced) {
				return
			}
		}
		r.serving.Store(s)
		r.WaitFor(nil)
		r.Log.Info("ready", "cluster", set.Cluster.Name, "issuer", c.issuer, "annotations", set.Annotations, "eks_api", set.EKSAPI)
	}()
	return c.informers.Start(ctx)
}

// watch is everything that there is to know of the cluster; nothing is known of it before
// its informers start.
func (r *server) watch(ctx context.Context, set settings.Settings) (*cluster, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), admissionregistrationv1.AddToScheme(scheme),
		authorizationv1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	kept := map[client.Object]cache.ByObject{
		new(v1alpha1.PodIdentityAssociation): {Transform: kube.Trim},
		new(corev1.Pod):                      {Transform: tokenkube.TrimPod},
		new(corev1.ServiceAccount):           {Transform: tokenkube.TrimServiceAccount},
	}
	annotation.Restrict(kept)
	c := &cluster{}
	var err error
	var watches tokenkube.Watches
	config := rest.CopyConfig(r.Config)
	config.Wrap(watches.Wrap)
	if c.informers, err = cache.New(config, cache.Options{Scheme: scheme, ByObject: kept, NewInformer: informer.New}); err != nil {
		return nil, err
	}
	if c.api, err = client.New(r.Config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if err := r.watchKeys(ctx, set, c); err != nil {
		return nil, err
	}
	objects, err := kube.New(ctx, c.informers, c.api)
	if err != nil {
		return nil, err
	}
	if c.pods, err = tokenkube.NewPods(ctx, c.informers, c.api); err != nil {
		return nil, err
	}
	objects.Log, c.associations = r.Log, objects
	c.synced = append(c.synced, objects.Synced, c.pods.Synced)

	c.nodes = &auth.Nodes{
		Cluster: set.Cluster.Name, Issuer: c.issuer, JWKS: c.keys.JWKS,
		Verifies: func(id string) bool { _, ok, _ := c.keys.KeySet().Find(ctx, id); return ok },
	}
	c.keys.OnChange, objects.OnChange, c.pods.OnPod, c.pods.OnGone = c.nodes.KeysChanged, c.nodes.Associated, c.nodes.Pod, c.nodes.Gone
	if set.Annotations {
		door, err := annotation.New(ctx, c.informers, c.api, r.Namespace, objects)
		if err != nil {
			return nil, err
		}
		door.Log, door.OnChange, c.associations = r.Log, c.nodes.Associated, door
		c.follow, c.synced = append(c.follow, door.Follow), append(c.synced, door.Synced)
	}
	c.nodes.Heard = c.associations.Heard
	r.watchNews(set, c, &watches)
	c.follow = append(c.follow, c.keys.Run, c.news.Run)
	return c, nil
}

// watchNews is how old may be what the watches have told.
func (r *server) watchNews(set settings.Settings, c *cluster, watches *tokenkube.Watches) {
	of := func(name, resource string, list client.ObjectList) auth.Source {
		return auth.Source{Name: name, Heard: func() time.Time { return watches.Heard(resource) },
			Quiet: func(ctx context.Context) bool { return watches.Quiet(ctx, c.api, resource, list) }}
	}
	c.news = &auth.News{Max: set.MaxStaleness, Metrics: r.metrics, Sources: []auth.Source{
		of("pods", "pods", new(corev1.PodList)),
		of("service-accounts", "serviceaccounts", new(corev1.ServiceAccountList)),
		of("associations", "podidentityassociations", new(v1alpha1.PodIdentityAssociationList)),
		{Name: "keys", Heard: c.keys.Fetched},
	}}
}

// watchKeys asks who the issuer is, unless the settings say it.
func (r *server) watchKeys(ctx context.Context, set settings.Settings, c *cluster) error {
	discovery, err := tokenkube.NewDiscovery(r.Config)
	if err != nil {
		return err
	}
	if c.issuer = set.Issuer; c.issuer == "" {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if c.issuer, err = discovery.Issuer(ctx); err != nil {
			return fmt.Errorf("ask the API server for its issuer: %w", err)
		}
	}
	// Twice, at the least, before they would be too old to answer by.
	c.keys = &token.Remote{Fetch: discovery.JWKS, Every: min(token.Refetch, set.MaxStaleness/2), Log: r.Log}
	c.synced = append(c.synced, func() bool { return c.keys.KeySet() != nil })
	return nil
}

// handler is the exchange and the stream.
func (r *server) handler(set settings.Settings, c *cluster, assumer *roles.Assumer) *auth.Handler {
	gate := &auth.Gate{Metrics: r.metrics}
	refusals := event.NewQueue(&event.Teller{API: c.api, Log: r.Log, Metrics: r.events})
	c.follow = append(c.follow, refusals.Run)
	verify := func(audience string) *token.Live {
		return &token.Live{Verifier: &token.Verifier{Issuer: c.issuer, Audience: audience, Keys: c.keys.Find, Enter: gate.Enter}, Pods: c.pods}
	}
	return &auth.Handler{
		Service: &auth.Service{Cluster: set.Cluster, Tokens: verify(podid.AudiencePods), Associations: c.associations, Roles: r.metrics.Roles(assumer)},
		Ready:   c.news.Ready, Age: c.news.Age, Nodes: c.nodes,
		Agents: verify(podid.AudienceAuth), AgentSubject: "system:serviceaccount:" + r.Namespace + ":" + r.options.agent,
		Gate: gate, Refused: refusals.Refused, Audit: r.audit, Metrics: r.metrics, Log: r.Log,
	}
}

// door proves callers by the access keys of service accounts.
func (r *server) door(ctx context.Context, set settings.Settings, c *cluster) (*accesskey.Door, error) {
	keys, err := accesskey.Informer(r.Config, r.Namespace)
	if err != nil {
		return nil, err
	}
	if _, err := keys.GetInformer(ctx, new(corev1.Secret), cache.BlockUntilSynced(false)); err != nil {
		return nil, err
	}
	c.follow = append(c.follow, func(ctx context.Context) {
		if err := keys.Start(ctx); err != nil {
			r.Log.Error("access keys are not followed", "cause", err)
		}
	})
	return &accesskey.Door{Namespace: r.Namespace, Region: set.Cluster.Region, Keys: keys, API: c.api}, nil
}

// eksAPI is the EKS API, for the access keys of service accounts.
func (r *server) eksAPI(set settings.Settings, c *cluster, door *accesskey.Door, assumer *roles.Assumer) http.Handler {
	return &eksapi.Handler{
		Cluster: set.Cluster, About: eksapi.About{Issuer: c.issuer}, Store: door.Store(c.associations),
		Access: door.Access, PassRole: door.PassRole, Check: assumer.Check, Caller: accesskey.Caller, Log: r.Log,
	}
}
