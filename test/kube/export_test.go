//go:build unix

package kube

import "time"

var (
	Once      = once
	StartTime = startTime
)

// NewRunDir makes a run folder that lives as long as this process, or until remove.
func NewRunDir() (dir string, remove func() error, err error) {
	r, err := newRunDir()
	if err != nil {
		return "", nil, err
	}
	return r.path, r.remove, nil
}

// SetStartLimit bounds starts for a test; it returns what brings the limit back.
func SetStartLimit(limit time.Duration) (restore func()) {
	before := startLimit
	startLimit = limit
	return func() { startLimit = before }
}
