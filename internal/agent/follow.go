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

// Stream is podid-auth's: Listen calls hear with each message, a snapshot first, until the
// stream ends, and says why.
type Stream interface {
	Listen(ctx context.Context, hear func(stream.Message) error) error
}

const (
	// quiet is how long a stream may say nothing.
	quiet = 3 * stream.PingEvery
	// firstPause and lastPause are between attempts to connect; a broken stream is connected anew
	// within the second that its change may take, and all nodes do not come at once.
	firstPause, lastPause = 200 * time.Millisecond, 2 * time.Second
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

// listen follows one stream to its end, and says whether it brought anything.
func (s *Server) listen(ctx context.Context, from Stream) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(quiet, func() { cancel(errSilent) })
	defer silence.Stop()
	defer s.news.open.Store(false)
	err = from.Listen(ctx, func(m stream.Message) error {
		silence.Reset(quiet)
		if err := s.Hear(m); err != nil {
			return err
		}
		if !heard {
			heard = true
			s.news.open.Store(true)
			s.metrics.streams.Add(1)
		}
		return nil
	})
	if err == nil || errors.Is(err, errSilent) {
		err = problem.New(problem.AuthUnavailable, "the stream of podid-auth said nothing for %s", quiet).From(err)
	}
	return heard, err
}

var errSilent = errors.New("silent")
