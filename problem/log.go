package problem

import "log/slog"

// Attrs are what a log line says of p: the code, what happened, and the underlying
// error, which nobody is told but the log. No problem has none.
func (p *Problem) Attrs() []slog.Attr {
	if p == nil {
		return nil
	}
	attrs := []slog.Attr{slog.String("code", string(p.Code)), slog.String("what", p.What)}
	if p.Err != nil {
		attrs = append(attrs, slog.String("cause", p.Err.Error()))
	}
	return attrs
}

// Level is that of a request's log line: what is broken is an error, any other problem a
// warning.
func (p *Problem) Level() slog.Level {
	switch {
	case p == nil:
		return slog.LevelInfo
	case Lookup(p.Code).Kind == Broken:
		return slog.LevelError
	}
	return slog.LevelWarn
}
