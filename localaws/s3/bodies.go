package s3

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
)

// bodies keeps the contents of objects and parts: files beside a journal, or
// memory without one. A body is written once, and never changes.
type bodies interface {
	// create begins a body; size is how large it will be at most, for a hint.
	create(size int64) (bodyWriter, error)
	// open gives the content of a body from offset on.
	open(id string, offset int64) (io.ReadCloser, error)
	// remove forgets a body. One that is being read may go on being read.
	remove(id string) error
}

// bodyWriter is a body that is being written. Exactly one of commit and abort
// ends it.
type bodyWriter interface {
	io.Writer
	// commit makes the body durable and names it.
	commit() (id string, err error)
	abort()
}

// bodyPrefix begins the name of every body.
const bodyPrefix = "s3-"

func newBodyID() string { return bodyPrefix + rand.Text() }

// maxMemory bounds what all bodies in memory take together, in bytes. With a
// journal bodies are files, and the disk is the bound.
const maxMemory = 1 << 30

// chunkSize is what memory grows by, so that a Content-Length that nothing
// follows costs nothing.
const chunkSize = 1 << 20

// memory is bodies without a journal.
type memory struct {
	limit int64

	mu     sync.Mutex
	used   int64
	bodies map[string]*chunks
}

// chunks is a content in pieces of chunkSize, the last one perhaps shorter.
type chunks struct {
	data [][]byte
	size int64
}

func newMemory(limit int64) *memory {
	return &memory{limit: limit, bodies: make(map[string]*chunks)}
}

func (m *memory) create(size int64) (bodyWriter, error) {
	return &memoryWriter{memory: m, hint: int(min(size, chunkSize))}, nil
}

func (m *memory) open(id string, offset int64) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.bodies[id]
	if !ok || offset > c.size {
		return nil, fmt.Errorf("s3: no body %s at offset %d", id, offset)
	}
	return &chunkReader{chunks: c, at: offset}, nil
}

func (m *memory) remove(id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.bodies[id]; ok {
		m.used -= c.size
		delete(m.bodies, id)
	}
	return nil
}

var errMemoryFull = errors.New("s3: bodies in memory take more than their bound")

func (m *memory) reserve(n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used+int64(n) > m.limit {
		return errMemoryFull
	}
	m.used += int64(n)
	return nil
}

type memoryWriter struct {
	memory *memory
	chunks chunks
	hint   int
}

func (w *memoryWriter) Write(p []byte) (int, error) {
	if err := w.memory.reserve(len(p)); err != nil {
		return 0, err
	}
	c := &w.chunks
	c.size += int64(len(p))
	n := len(p)
	for len(p) > 0 {
		last := len(c.data) - 1
		if last < 0 || len(c.data[last]) == chunkSize {
			c.data = append(c.data, make([]byte, 0, w.hint))
			last++
		}
		take := min(len(p), chunkSize-len(c.data[last]))
		c.data[last] = append(c.data[last], p[:take]...)
		p = p[take:]
	}
	return n, nil
}

func (w *memoryWriter) commit() (string, error) {
	id := newBodyID()
	w.memory.mu.Lock()
	defer w.memory.mu.Unlock()
	w.memory.bodies[id] = &w.chunks
	return id, nil
}

func (w *memoryWriter) abort() {
	w.memory.mu.Lock()
	defer w.memory.mu.Unlock()
	w.memory.used -= w.chunks.size
}

type chunkReader struct {
	*chunks
	at int64
}

func (r *chunkReader) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	n := copy(p, r.data[r.at/chunkSize][r.at%chunkSize:])
	r.at += int64(n)
	return n, nil
}

func (r *chunkReader) Close() error { return nil }
