package s3

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/openpodidentity/podid/internal/journal"
)

// upload is a multipart upload that is neither completed nor aborted.
type upload struct {
	ID        string            `json:"-"`
	Key       string            `json:"key"`
	Initiated time.Time         `json:"initiated"`
	Headers   map[string]string `json:"headers,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Tags      []tag             `json:"tags,omitempty"`
	Algorithm algorithm         `json:"algorithm"`
	Type      string            `json:"type"` // of the checksum
	// Declared is set if the caller named the algorithm, and so must give the
	// checksums of the parts when completing.
	Declared bool `json:"declared,omitempty"`

	parts map[int]part // guarded by the state's mu
}

type part struct {
	Number   int       `json:"-"`
	Size     int64     `json:"size"`
	ETag     string    `json:"etag"` // hexadecimal MD5
	Modified time.Time `json:"modified"`
	Checksum string    `json:"checksum"` // base64, of the upload's algorithm
	Segments []segment `json:"segments,omitempty"`
}

func (s *state) loadUpload(name string, value json.RawMessage) error {
	bucket, id, _ := strings.Cut(name, "/")
	b, ok := s.buckets[bucket]
	if !ok {
		return errNoSuchBucket(bucket)
	}
	u := &upload{ID: id, parts: make(map[int]part)}
	b.uploads[id] = u
	return json.Unmarshal(value, u)
}

func (s *state) loadPart(name string, value json.RawMessage) error {
	fields := strings.Split(name, "/")
	if len(fields) != 3 {
		return errors.New("not BUCKET/UPLOAD/PART")
	}
	number, err := strconv.Atoi(fields[2])
	if err != nil {
		return err
	}
	u, err := s.uploadLocked(fields[0], fields[1])
	if err != nil {
		return err
	}
	p := part{Number: number}
	if err := json.Unmarshal(value, &p); err != nil {
		return err
	}
	u.parts[number] = p
	s.holdLocked(p.Segments)
	return nil
}

func (s *state) uploadLocked(bucket, id string) (*upload, error) {
	b, err := s.bucketLocked(bucket)
	if err != nil {
		return nil, err
	}
	if u, ok := b.uploads[id]; ok {
		return u, nil
	}
	return nil, errNoSuchUpload(id)
}

// upload finds an upload of the key; its parts may change meanwhile.
func (s *state) upload(bucket, key, id string) (*upload, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	u, err := s.uploadLocked(bucket, id)
	if err == nil && u.Key != key {
		return nil, errNoSuchUpload(id)
	}
	return u, err
}

// parts are the parts of an upload so far, in order.
func (s *state) parts(u *upload) []part {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(u.parts), func(a, b part) int { return a.Number - b.Number })
}

func (s *state) createUpload(bucket string, u *upload) error {
	defer s.locks.hold([]string{bucket}, nil)()
	if err := s.checkBucket(bucket); err != nil {
		return err
	}
	if err := s.journal.Commit(journal.Put(uploadKey(bucket, u.ID), u)); err != nil {
		return err
	}
	u.parts = make(map[int]part)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[bucket].uploads[u.ID] = u
	return nil
}

// putPart stores a part, replacing one of the same number. It takes over the
// caller's hold on the part's bodies, whether it succeeds or not.
func (s *state) putPart(bucket string, u *upload, p part) error {
	name := partKey(bucket, u.ID, p.Number)
	defer s.locks.hold([]string{bucket, u.ID}, []string{name})()
	_, err := s.upload(bucket, u.Key, u.ID)
	if err == nil {
		err = s.journal.Commit(journal.Put(name, p))
	}
	if err != nil {
		s.drop(p.Segments)
		return err
	}
	s.mu.Lock()
	old := u.parts[p.Number]
	u.parts[p.Number] = p
	s.mu.Unlock()
	s.drop(old.Segments)
	return nil
}

// deleteOps are the changes that end an upload.
func (u *upload) deleteOps(bucket string) []journal.Op {
	ops := []journal.Op{journal.Delete(uploadKey(bucket, u.ID))}
	for number := range u.parts {
		ops = append(ops, journal.Delete(partKey(bucket, u.ID, number)))
	}
	return ops
}

func (s *state) dropParts(u *upload) {
	for _, p := range u.parts {
		s.drop(p.Segments)
	}
}

func (s *state) abortUpload(bucket, key, id string) error {
	defer s.locks.hold([]string{bucket}, []string{id})()
	u, err := s.upload(bucket, key, id)
	if err != nil {
		return err
	}
	// The upload is locked, so its parts do not change.
	if err := s.journal.Commit(u.deleteOps(bucket)...); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.buckets[bucket].uploads, id)
	s.mu.Unlock()
	s.dropParts(u)
	return nil
}

// chosenPart is a part as a CompleteMultipartUpload names it.
type chosenPart struct {
	number   int
	etag     string               // without quotes
	checksum map[algorithm]string // as far as given
}

// completion is a CompleteMultipartUpload.
type completion struct {
	bucket, key, id string
	parts           []chosenPart
	cond            conditions
	size            int64                // x-amz-mp-object-size, or -1
	kind            string               // x-amz-checksum-type, or empty
	checksum        map[algorithm]string // of the object, as far as given
}

// completeUpload makes the chosen parts an object. No content is copied: the
// object has the parts' bodies as its segments.
func (s *state) completeUpload(c completion, now time.Time) (*object, error) {
	defer s.locks.hold([]string{c.bucket}, []string{c.id, objectKey(c.bucket, c.key)})()
	u, err := s.upload(c.bucket, c.key, c.id)
	if err != nil {
		return nil, err
	}
	current, err := s.current(c.bucket, c.key)
	if err != nil {
		return nil, err
	}
	if err := c.cond.write(c.key, current); err != nil {
		return nil, err
	}
	o, err := c.object(u, now)
	if err != nil {
		return nil, err
	}
	ops := append(u.deleteOps(c.bucket), journal.Put(objectKey(c.bucket, c.key), o))
	if err := s.journal.Commit(ops...); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.holdLocked(o.Segments)
	delete(s.buckets[c.bucket].uploads, u.ID)
	s.buckets[c.bucket].put(o)
	s.mu.Unlock()
	s.dropParts(u)
	if current != nil {
		s.drop(current.Segments)
	}
	return o, nil
}

// object is what the upload becomes. It changes nothing.
func (c completion) object(u *upload, now time.Time) (*object, error) {
	parts, err := c.choose(u)
	if err != nil {
		return nil, err
	}
	o := &object{Key: u.Key, Modified: now, Headers: u.Headers, Metadata: u.Metadata, Tags: u.Tags}
	etags := md5.New()
	for i, p := range parts {
		if i < len(parts)-1 && p.Size < minPart {
			return nil, errEntityTooSmall(p.Number, p.Size)
		}
		raw, err := hex.DecodeString(p.ETag)
		if err != nil {
			return nil, fmt.Errorf("ETag of part %d: %w", p.Number, err)
		}
		etags.Write(raw)
		o.Size += p.Size
		o.Segments = append(o.Segments, p.Segments...)
		o.Parts = append(o.Parts, partInfo{p.Number, p.Size, p.Checksum})
	}
	o.ETag = fmt.Sprintf("%x-%d", etags.Sum(nil), len(parts))
	if o.Checksum, err = combined(u.Algorithm, u.Type, parts); err != nil {
		return nil, err
	}
	switch {
	case o.Size > maxObject:
		return nil, errEntityTooLarge(o.Size, maxObject)
	case c.size >= 0 && c.size != o.Size:
		return nil, errInvalidRequest(fmt.Sprintf("The provided 'x-amz-mp-object-size' header value %d does not match what was computed: %d", c.size, o.Size))
	case c.kind != "" && c.kind != u.Type:
		return nil, errInvalidRequest(fmt.Sprintf("The upload was created using the %s checksum mode. The complete request must use the same checksum mode.", u.Type))
	}
	for a, value := range c.checksum {
		if a == u.Algorithm && value != o.Checksum.Value {
			return nil, errBadDigest(strings.ToLower(string(a)))
		}
	}
	return o, nil
}

// choose finds the chosen parts, which must be in ascending order.
func (c completion) choose(u *upload) ([]part, error) {
	parts := make([]part, len(c.parts))
	for i, chosen := range c.parts {
		if i > 0 && chosen.number <= c.parts[i-1].number {
			return nil, fail(400, "InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number.", "UploadId", u.ID)
		}
		p, ok := u.parts[chosen.number]
		if !ok || p.ETag != chosen.etag {
			return nil, errInvalidPart(chosen.number)
		}
		given, ok := chosen.checksum[u.Algorithm]
		switch {
		case ok && given != p.Checksum:
			return nil, errInvalidPart(chosen.number)
		case !ok && u.Declared && u.Type == composite:
			return nil, errInvalidRequest(fmt.Sprintf("The upload was created using a %s checksum. The complete request must include the checksum for each part. It was missing for part %d in the request.", strings.ToLower(string(u.Algorithm)), chosen.number))
		}
		parts[i] = p
	}
	return parts, nil
}

// listUploads answers a listing of uploads by key; uploads of one key are in the
// order of their IDs, and after (AfterID) begins within the key After.
func (s *state) listUploads(bucket string, l listing, afterID string) (uploads []*upload, prefixes []string, truncated bool, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucketLocked(bucket)
	if err != nil {
		return nil, nil, false, err
	}
	all := slices.SortedFunc(maps.Values(b.uploads), func(a, b *upload) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	last, n := "", 0
	for _, u := range all {
		after := u.Key > l.After || u.Key == l.After && afterID != "" && u.ID > afterID
		if !strings.HasPrefix(u.Key, l.Prefix) || !after {
			continue
		}
		rolled, ok := l.roll(u.Key)
		if ok && (rolled == last || rolled <= l.After) {
			continue
		}
		if n == l.Max {
			return uploads, prefixes, true, nil
		}
		n++
		if ok {
			last = rolled
			prefixes = append(prefixes, rolled)
		} else {
			uploads = append(uploads, u)
		}
	}
	return uploads, prefixes, false, nil
}
