// Package stream is what podid-auth tells the agent of a node without being asked: which
// of its pods have which version of an association, which pods have ended, and the keys
// that verify tokens. It holds the messages and how they are written and read;
// podid-auth and the agent are its two ends.
//
// The wire is application/x-ndjson, a JSON object on each line: first a snapshot, then a
// line for each change and a ping every ten seconds. It names no service accounts and no
// roles, and no pods of other nodes. A line that is none of those below is skipped: a
// newer podid-auth may say more.
package stream

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	// Path is where podid-auth serves it, with GET.
	Path = "/v1/nodes/self/stream"
	// ContentType of the answer.
	ContentType = "application/x-ndjson"
	// PingEvery is how often a line comes at the least; after three times that
	// without one the stream is broken.
	PingEvery = 10 * time.Second
	// OldAfter is how old the news of a podid-auth may be. Whoever listens to one that has
	// had none for longer looks for another that has.
	OldAfter = 30 * time.Second
	// HeaderWithin of a request refuses older news than this, in whole seconds: a podid-auth
	// that has none so new answers 503 in place of a stream.
	HeaderWithin = "X-Podid-News-Within"
	// MaxLine bounds a line, in bytes: a snapshot of some thousand pods.
	MaxLine = 4 << 20
	// MaxPods bounds the pods of a snapshot; a kubelet runs some hundreds.
	MaxPods = 4096
)

// Version is a version of the association of a pod: UID/RESOURCEVERSION. An empty UID
// says that there is none as of that resource version, so that what is older is known
// to be out of date. The zero Version is that of a pod of which nothing is known.
type Version struct {
	UID      string
	Revision uint64
}

// ParseVersion reads what String wrote.
func ParseVersion(s string) (Version, error) {
	if s == "" {
		return Version{}, nil
	}
	uid, revision, ok := strings.Cut(s, "/")
	n, err := strconv.ParseUint(revision, 10, 64)
	if !ok || err != nil || len(uid) > 128 || strings.ContainsFunc(uid, odd) {
		return Version{}, errors.New("not the version of an association, UID/RESOURCEVERSION")
	}
	return Version{uid, n}, nil
}

func odd(c rune) bool {
	return c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
}

// String is UID/RESOURCEVERSION, empty for the zero Version.
func (v Version) String() string {
	if v == (Version{}) {
		return ""
	}
	return v.UID + "/" + strconv.FormatUint(v.Revision, 10)
}

// Older says that v is out of date for who has heard of other: resource versions of all
// objects of a cluster have one order
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions).
func (v Version) Older(other Version) bool { return v.Revision < other.Revision }

// MarshalText implements encoding.TextMarshaler.
func (v Version) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (v *Version) UnmarshalText(text []byte) (err error) {
	*v, err = ParseVersion(string(text))
	return err
}

// Message is one line. Exactly one of its fields but Association and Age is set.
type Message struct {
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	// Pod, by UID, has another Association than before, or is new.
	Pod         string   `json:"pod,omitempty"`
	Association *Version `json:"association,omitempty"`
	// PodEnded, by UID, has finished or is gone.
	PodEnded string `json:"podEnded,omitempty"`
	// Keys are all keys that verify tokens now, a JWKS (RFC 7517).
	Keys json.RawMessage `json:"keys,omitempty"`
	// Ping is when it was sent, in seconds since 1970.
	Ping int64 `json:"ping,omitempty"`
	// Age is how old the news are that podid-auth goes by, in whole seconds.
	Age int64 `json:"age,omitempty"`
}

// Old is how old the news are that the message comes from.
func (m Message) Old() time.Duration {
	return time.Duration(min(max(m.Age, 0), math.MaxInt32)) * time.Second
}

// Snapshot is all that there is to say at the beginning.
type Snapshot struct {
	// Cluster is the cluster's name, Issuer the iss of its tokens.
	Cluster string `json:"cluster"`
	Issuer  string `json:"issuer"`
	// Keys are those that verify tokens, a JWKS (RFC 7517).
	Keys json.RawMessage `json:"keys"`
	// Pods are the node's, by UID.
	Pods map[string]Pod `json:"pods"`
}

// Pod is what a snapshot says of a pod.
type Pod struct {
	Association Version `json:"association"`
}

// Write writes one message as a line.
func Write(w io.Writer, m Message) error {
	line, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode stream message: %w", err)
	}
	if len(line) >= MaxLine {
		return fmt.Errorf("encode stream message: %d bytes are more than a line may have", len(line))
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// Reader reads messages.
type Reader struct{ lines *bufio.Scanner }

// NewReader reads from r, which is podid-auth's answer.
func NewReader(r io.Reader) *Reader {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), MaxLine)
	return &Reader{lines}
}

// Next is the next message, io.EOF at the end. Any other error says that the stream
// cannot be relied on any more.
func (r *Reader) Next() (Message, error) {
	for r.lines.Scan() {
		var m Message
		if err := json.Unmarshal(r.lines.Bytes(), &m); err != nil {
			return Message{}, errors.New("a line of the stream is not a message") // the error may quote the line
		}
		if m.Snapshot != nil && len(m.Snapshot.Pods) > MaxPods {
			return Message{}, fmt.Errorf("the snapshot has %d pods, more than %d", len(m.Snapshot.Pods), MaxPods)
		}
		if !m.empty() {
			return m, nil
		}
	}
	if err := r.lines.Err(); err != nil {
		return Message{}, fmt.Errorf("read stream: %w", err)
	}
	return Message{}, io.EOF
}

func (m Message) empty() bool {
	return m.Snapshot == nil && m.Pod == "" && m.PodEnded == "" && m.Keys == nil && m.Ping == 0
}
