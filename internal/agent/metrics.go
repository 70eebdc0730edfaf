package agent

import (
	"time"

	"github.com/openpodidentity/podid/problem"
)

// Metrics counts. The zero value counts nothing.
type Metrics struct{}

func (m *Metrics) hit(time.Duration)                   {}
func (m *Metrics) miss(time.Duration)                  {}
func (m *Metrics) refused(problem.Code, time.Duration) {}
func (m *Metrics) called(error, time.Duration)         {}
