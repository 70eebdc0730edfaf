package sandbox

import "net/http"

// Reap ends the pods whose process is gone, now.
func (w *World) Reap() { w.Pods.reap() }

// TellPanics is how every handler of the world is served.
func (w *World) TellPanics(h http.Handler) http.Handler { return w.tellPanics(h) }
