// Package journal keeps the local world on disk: a set of named values, changed
// in atomic batches, in one append-only file. A batch that Commit acknowledged
// survives the death of the process at any moment.
package journal

import "encoding/json"

// Op is one change: a value put under a key, or the key deleted when Value is nil.
type Op struct {
	Key   string          `json:"k"`
	Value json.RawMessage `json:"v,omitempty"`
}

// Put makes an Op of any JSON-encodable value.
func Put(key string, value any) Op { panic("skeleton") }

// Delete makes an Op that removes key.
func Delete(key string) Op { return Op{Key: key} }

// Journal is open on a directory. A nil *Journal keeps nothing: Commit succeeds
// and Load finds nothing, so services need not know whether they are kept.
type Journal struct{}

// Open reads DIR/journal (making it if need be), cuts a torn last record, and
// compacts. One process at a time (file lock). A record damaged in the middle
// is a problem data-damaged.
func Open(dir string) (*Journal, error) { panic("skeleton") }

// Load calls f for every live key with the prefix, in key order.
func (j *Journal) Load(prefix string, f func(key string, value json.RawMessage) error) error {
	panic("skeleton")
}

// Commit makes ops durable, all or none, and returns when they are (fsync,
// grouped with concurrent commits).
func (j *Journal) Commit(ops ...Op) error { panic("skeleton") }

// Blobs is the directory for what is too big for the journal (S3 bodies); ""
// for a nil Journal.
func (j *Journal) Blobs() string { panic("skeleton") }

// Close flushes and unlocks.
func (j *Journal) Close() error { panic("skeleton") }
