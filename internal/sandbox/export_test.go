package sandbox

// Reap ends the pods whose process is gone, now.
func (w *World) Reap() { w.Pods.reap() }
