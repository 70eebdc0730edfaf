package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/openpodidentity/podid"
	"github.com/openpodidentity/podid/internal/stream"
	"github.com/openpodidentity/podid/problem"
)

// Stream opens podid-auth's.
type Stream interface {
	// Open opens one at a podid-auth whose news are no older than within; at any if that
	// is zero. The stream ends with ctx.
	Open(ctx context.Context, within time.Duration) (Lines, error)
}

// Lines are what a stream says.
type Lines interface {
	// Next is the next message, a snapshot first, or why the stream has ended.
	Next() (stream.Message, error)
	Close() error
}

const (
	// quiet is how long a stream may say nothing.
	quiet = 3 * stream.PingEvery
	// firstPause and lastPause are between attempts to connect; a broken stream is connected anew
	// within the second that its change may take, and all nodes do not come at once.
	firstPause, lastPause = 200 * time.Millisecond, 2 * time.Second
	// openWithin bounds how long a stream may take to begin, until its first line: a podid-auth that hangs
	// would keep the node from hearing of changes.
	openWithin = 3 * time.Second
	// lookEvery is the least time between two looks for newer news, and half of the most;
	// lookWithin bounds one.
	lookEvery, lookWithin = stream.OldAfter, 2 * time.Second
)

// Follow hears what podid-auth's stream says, and connects anew when it ends, until ctx does.
func (s *Server) Follow(ctx context.Context, from Stream) {
	pause := firstPause
	var told time.Time // when the log last had that it fails
	for ctx.Err() == nil {
		start := s.now()
		heard, err := s.listen(ctx, from)
		if ctx.Err() != nil {
			return
		}
		if heard {
			pause, told = firstPause, time.Time{}
		}
		if now := s.now(); now.Sub(told) > tellEvery {
			told = now
			s.log(ctx, "stream", podid.Workload{}, s.now().Sub(start), problem.Of(err), slog.Bool("heard", heard))
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, lastPause)
	}
}

// listen follows the stream to its end, and says whether it brought anything. It goes on
// with that of another podid-auth when it finds one that has newer news.
func (s *Server) listen(ctx context.Context, from Stream) (heard bool, err error) {
	defer s.news.open.Store(false)
	l, err := open(ctx, from, 0, openWithin)
	if err != nil {
		return false, err
	}
	defer func() { l.end() }()
	for {
		m, err := l.next()
		if err == nil {
			err = s.Hear(m)
		}
		if err != nil {
			return heard, err
		}
		if !heard || m.Snapshot != nil {
			heard = true
			s.news.open.Store(true)
			s.metrics.streams.Add(1)
		}
		if other := s.newer(ctx, from, m.Old()); other != nil {
			l.end()
			l = other
		}
	}
}

// newer is a stream with newer news, if those of the present one are old; nil is none.
// The present one is kept meanwhile: when no podid-auth has any, since the API server is
// away, nothing changes but that each is asked from time to time.
func (s *Server) newer(ctx context.Context, from Stream, old time.Duration) *listener {
	start := s.now()
	if old <= stream.OldAfter || start.Before(s.news.nextLook) {
		return nil
	}
	s.news.nextLook = start.Add(lookEvery + rand.N(lookEvery))
	l, err := open(ctx, from, stream.OldAfter, lookWithin)
	if err != nil {
		return nil
	}
	s.log(ctx, "stream of newer news", podid.Workload{}, s.now().Sub(start), nil, slog.Duration("old", old))
	return l
}

// listener follows one stream, for as long as it says something.
type listener struct {
	lines   Lines
	silence *time.Timer
	cancel  context.CancelCauseFunc
}

// open opens a stream; patience bounds that.
func open(ctx context.Context, from Stream, within, patience time.Duration) (*listener, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	silence := time.AfterFunc(patience, func() { cancel(errSilent) })
	lines, err := from.Open(ctx, within)
	if err != nil {
		silence.Stop()
		cancel(nil)
		return nil, unlessSilent(err)
	}
	silence.Reset(openWithin)
	return &listener{lines, silence, cancel}, nil
}

func (l *listener) next() (stream.Message, error) {
	m, err := l.lines.Next()
	l.silence.Reset(quiet)
	return m, unlessSilent(err)
}

func (l *listener) end() {
	l.silence.Stop()
	l.cancel(nil)
	_ = l.lines.Close()
}

var errSilent = errors.New("silent")

func unlessSilent(err error) error {
	if errors.Is(err, errSilent) {
		return problem.New(problem.AuthUnavailable, "the stream of podid-auth said nothing for long").From(err)
	}
	return err
}
