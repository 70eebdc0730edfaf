package reconcile

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// controller has r called, by one goroutine, with the requests that sources make.
func (w *workshop) controller(name string, r reconcile.Reconciler, sources ...source.Source) error {
	b := builder.ControllerManagedBy(w.manager).Named(name)
	for _, s := range sources {
		b = b.WatchesRawSource(s)
	}
	return b.Complete(r)
}

// itself requests each object of a kind that changes, by its name.
func itself(cached cache.Cache, kind client.Object) source.Source {
	return source.Kind(cached, kind, &handler.EnqueueRequestForObject{})
}

// others requests what an object of a kind that changes concerns.
func others(cached cache.Cache, kind client.Object, concerned handler.MapFunc) source.Source {
	return source.Kind(cached, kind, handler.EnqueueRequestsFromMapFunc(concerned))
}

// atOnce requests the one thing that a controller has to do, whatever there is to watch.
func atOnce(name string) source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(request(name))
		return nil
	})
}

func request(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}
}
