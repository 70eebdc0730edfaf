package s3

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openpodidentity/podid/internal/journal"
)

// state is all buckets of an account: in memory, and in the journal if there is
// one. A change holds locks on what it changes, goes to the journal, and is seen
// by readers when it is durable.
type state struct {
	journal *journal.Journal
	bodies  bodies
	locks   locks

	mu      sync.RWMutex
	buckets map[string]*bucket
	refs    map[string]int // of bodies: how many segments and readers use them
}

type bucket struct {
	Name    string    `json:"-"`
	Created time.Time `json:"created"`

	keys    []string // of objects, sorted
	objects map[string]*object
	uploads map[string]*upload // by ID
}

// object is what is stored under a key; it never changes.
type object struct {
	Key      string            `json:"-"`
	Size     int64             `json:"size"`
	ETag     string            `json:"etag"` // without quotes
	Modified time.Time         `json:"modified"`
	Headers  map[string]string `json:"headers,omitempty"`  // Content-Type and its like
	Metadata map[string]string `json:"metadata,omitempty"` // x-amz-meta-, lower-case names
	Tags     []tag             `json:"tags,omitempty"`
	Checksum checksum          `json:"checksum"`
	Segments []segment         `json:"segments,omitempty"`
	Parts    []partInfo        `json:"parts,omitempty"` // if it was uploaded in parts
}

// segment is a part of a body. Objects made by copying share bodies.
type segment struct {
	Body   string `json:"body"`
	Offset int64  `json:"offset,omitempty"`
	Size   int64  `json:"size"`
}

// partInfo is what remains of a part in its object.
type partInfo struct {
	Number   int    `json:"number"`
	Size     int64  `json:"size"`
	Checksum string `json:"checksum"`
}

type tag struct {
	Key   string `json:"key" xml:"Key"`
	Value string `json:"value" xml:"Value"`
}

// Keys of the journal. A bucket's name has no slash, an object's key may.
const (
	bucketKeys = "s3/bucket/"
	objectKeys = "s3/object/"
	uploadKeys = "s3/upload/"
	partKeys   = "s3/part/"
)

func bucketKey(name string) string        { return bucketKeys + name }
func objectKey(bucket, key string) string { return objectKeys + bucket + "/" + key }
func uploadKey(bucket, id string) string  { return uploadKeys + bucket + "/" + id }
func partKey(bucket, id string, number int) string {
	return fmt.Sprintf("%s%s/%s/%05d", partKeys, bucket, id, number)
}

// open loads the state from j, or begins an empty one in memory if j is nil.
func open(j *journal.Journal) (*state, error) {
	s := &state{journal: j, bodies: newMemory(maxMemory), locks: locks{seed: maphash.MakeSeed()},
		buckets: make(map[string]*bucket), refs: make(map[string]int)}
	if j == nil {
		return s, nil
	}
	dir := directory(j.Blobs())
	s.bodies = dir
	for _, kind := range []struct {
		prefix string
		load   func(rest string, value json.RawMessage) error
	}{{bucketKeys, s.loadBucket}, {objectKeys, s.loadObject}, {uploadKeys, s.loadUpload}, {partKeys, s.loadPart}} {
		err := j.Load(kind.prefix, func(key string, value json.RawMessage) error {
			if err := kind.load(strings.TrimPrefix(key, kind.prefix), value); err != nil {
				return fmt.Errorf("s3: load %s: %w", key, err)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return s, dir.sweep(s.bodySizes())
}

func (s *state) loadBucket(name string, value json.RawMessage) error {
	b := newBucket(name)
	s.buckets[name] = b
	return json.Unmarshal(value, b)
}

func (s *state) loadObject(name string, value json.RawMessage) error {
	bucket, key, _ := strings.Cut(name, "/")
	b, ok := s.buckets[bucket]
	if !ok {
		return errNoSuchBucket(bucket)
	}
	o := &object{Key: key}
	if err := json.Unmarshal(value, o); err != nil {
		return err
	}
	b.objects[key] = o
	b.keys = append(b.keys, key) // Load is in key order
	s.holdLocked(o.Segments)
	return nil
}

// bodySizes is how large each body in use must be at least.
func (s *state) bodySizes() map[string]int64 {
	sizes := make(map[string]int64)
	need := func(segments []segment) {
		for _, seg := range segments {
			sizes[seg.Body] = max(sizes[seg.Body], seg.Offset+seg.Size)
		}
	}
	for _, b := range s.buckets {
		for _, o := range b.objects {
			need(o.Segments)
		}
		for _, u := range b.uploads {
			for _, p := range u.parts {
				need(p.Segments)
			}
		}
	}
	return sizes
}

func newBucket(name string) *bucket {
	return &bucket{Name: name, objects: make(map[string]*object), uploads: make(map[string]*upload)}
}

func (s *state) createBucket(name string, now time.Time) error {
	defer s.locks.hold(nil, []string{name})()
	s.mu.RLock()
	_, exists := s.buckets[name]
	count := len(s.buckets)
	s.mu.RUnlock()
	switch {
	case exists:
		return fail(409, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.", "BucketName", name)
	case count >= maxBuckets:
		return fail(400, "TooManyBuckets", "You have attempted to create more buckets than allowed")
	}
	b := newBucket(name)
	b.Created = now
	if err := s.journal.Commit(journal.Put(bucketKey(name), b)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[name] = b
	return nil
}

// deleteBucket removes an empty bucket, with the uploads that were never completed.
func (s *state) deleteBucket(name string) error {
	defer s.locks.hold(nil, []string{name})()
	s.mu.RLock()
	b, err := s.bucketLocked(name)
	if err == nil && len(b.keys) > 0 {
		err = fail(409, "BucketNotEmpty", "The bucket you tried to delete is not empty", "BucketName", name)
	}
	s.mu.RUnlock()
	if err != nil {
		return err
	}
	// The bucket is locked, so its uploads do not change.
	ops := []journal.Op{journal.Delete(bucketKey(name))}
	for _, u := range b.uploads {
		ops = append(ops, u.deleteOps(name)...)
	}
	if err := s.journal.Commit(ops...); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.buckets, name)
	s.mu.Unlock()
	for _, u := range b.uploads {
		s.dropParts(u)
	}
	return nil
}

// bucketLocked finds a bucket; the caller holds mu.
func (s *state) bucketLocked(name string) (*bucket, error) {
	if b, ok := s.buckets[name]; ok {
		return b, nil
	}
	return nil, errNoSuchBucket(name)
}

// checkBucket makes sure that there is a bucket; NoSuchBucket.
func (s *state) checkBucket(name string) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, err := s.bucketLocked(name)
	return err
}

// bucketInfo is a bucket in a listing.
type bucketInfo struct {
	name    string
	created time.Time
}

// listBuckets are at most most buckets with the prefix after a name, in order.
func (s *state) listBuckets(prefix, after string, most int) (list []bucketInfo, truncated bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, b := range s.buckets {
		if strings.HasPrefix(name, prefix) && name > after {
			list = append(list, bucketInfo{name, b.Created})
		}
	}
	slices.SortFunc(list, func(a, b bucketInfo) int { return strings.Compare(a.name, b.name) })
	if len(list) > most {
		return list[:most], true
	}
	return list, false
}

// hold keeps the bodies of the segments until drop.
func (s *state) hold(segments []segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holdLocked(segments)
}

func (s *state) holdLocked(segments []segment) {
	for _, seg := range segments {
		s.refs[seg.Body]++
	}
}

// drop ends a hold, and removes the bodies that nobody holds any more.
func (s *state) drop(segments []segment) {
	var unused []string
	s.mu.Lock()
	for _, seg := range segments {
		if s.refs[seg.Body]--; s.refs[seg.Body] == 0 {
			delete(s.refs, seg.Body)
			unused = append(unused, seg.Body)
		}
	}
	s.mu.Unlock()
	for _, id := range unused {
		// An error leaves an orphan, which the next start sweeps.
		_ = s.bodies.remove(id)
	}
}
