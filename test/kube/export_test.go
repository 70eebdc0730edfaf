//go:build unix

package kube

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
