package s3

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/openpodidentity/podid/internal/journal"
)

// object finds an object and holds its bodies until release is called.
func (s *state) object(bucket, key string) (o *object, release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucketLocked(bucket)
	if err != nil {
		return nil, nil, err
	}
	o, ok := b.objects[key]
	if !ok {
		return nil, nil, errNoSuchKey(key)
	}
	s.holdLocked(o.Segments)
	return o, func() { s.drop(o.Segments) }, nil
}

// putObject stores o in the bucket if the conditions hold. It takes over the
// caller's hold on o's bodies, whether it succeeds or not.
func (s *state) putObject(bucket string, o *object, cond conditions) error {
	defer s.locks.hold([]string{bucket}, []string{objectKey(bucket, o.Key)})()
	current, err := s.current(bucket, o.Key)
	if err == nil {
		err = cond.write(o.Key, current)
	}
	if err == nil {
		err = s.journal.Commit(journal.Put(objectKey(bucket, o.Key), o))
	}
	if err != nil {
		s.drop(o.Segments)
		return err
	}
	s.mu.Lock()
	s.buckets[bucket].put(o)
	s.mu.Unlock()
	if current != nil {
		s.drop(current.Segments)
	}
	return nil
}

// retag replaces an object's tags.
func (s *state) retag(bucket, key string, tags []tag) error {
	defer s.locks.hold([]string{bucket}, []string{objectKey(bucket, key)})()
	current, err := s.current(bucket, key)
	if err != nil {
		return err
	}
	if current == nil {
		return errNoSuchKey(key)
	}
	o := *current
	o.Tags = tags
	if err := s.journal.Commit(journal.Put(objectKey(bucket, key), &o)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[bucket].put(&o)
	return nil
}

// deleteObjects removes the keys, each of which may be absent, in one commit.
// The conditions are those of a single key.
func (s *state) deleteObjects(bucket string, keys []string, cond conditions) error {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = objectKey(bucket, key)
	}
	defer s.locks.hold([]string{bucket}, names)()
	var ops []journal.Op
	var gone []*object
	for i, key := range keys {
		current, err := s.current(bucket, key)
		if err == nil {
			err = cond.write(key, current)
		}
		if err != nil {
			return err
		}
		if current != nil && !slices.Contains(gone, current) {
			ops = append(ops, journal.Delete(names[i]))
			gone = append(gone, current)
		}
	}
	if err := s.journal.Commit(ops...); err != nil {
		return err
	}
	s.mu.Lock()
	for _, o := range gone {
		s.buckets[bucket].remove(o.Key)
	}
	s.mu.Unlock()
	for _, o := range gone {
		s.drop(o.Segments)
	}
	return nil
}

// current is the object under a key, nil if there is none; NoSuchBucket.
func (s *state) current(bucket, key string) (*object, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucketLocked(bucket)
	if err != nil {
		return nil, err
	}
	return b.objects[key], nil
}

// list answers a listing with the objects it found.
func (s *state) list(bucket string, l listing) (page, []*object, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucketLocked(bucket)
	if err != nil {
		return page{}, nil, err
	}
	p := l.of(b.keys)
	objects := make([]*object, len(p.Objects))
	for i, key := range p.Objects {
		objects[i] = b.objects[key]
	}
	return p, objects, nil
}

// put and remove change what readers see; the caller holds the state's mu.
func (b *bucket) put(o *object) {
	if i, found := slices.BinarySearch(b.keys, o.Key); !found {
		b.keys = slices.Insert(b.keys, i, o.Key)
	}
	b.objects[o.Key] = o
}

func (b *bucket) remove(key string) {
	if i, found := slices.BinarySearch(b.keys, key); found {
		b.keys = slices.Delete(b.keys, i, i+1)
	}
	delete(b.objects, key)
}

// store writes a body of size bytes, and returns the segment it holds: none for
// an empty body.
func (s *state) store(r io.Reader, size int64) (segments []segment, err error) {
	w, err := s.bodies.create(size)
	if err != nil {
		return nil, err
	}
	// One byte more than announced is enough to tell that there are more; an
	// end that comes with an error of the reader is that error.
	n, err := io.Copy(w, io.LimitReader(r, size+1))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), err == nil && n != size:
		err = errIncompleteBody()
	case errors.Is(err, errMemoryFull):
		err = fail(400, "EntityTooLarge", fmt.Sprintf("Without a data directory all objects together take at most %d bytes of memory. Start podid with --data DIR.", maxMemory))
	}
	if err != nil || n == 0 {
		w.abort()
		return nil, err
	}
	id, err := w.commit()
	if err != nil {
		return nil, err
	}
	segments = []segment{{Body: id, Size: n}}
	s.hold(segments)
	return segments, nil
}

// read gives the part of the segments' content.
func (s *state) read(segments []segment, part span) *contentReader {
	var wanted []segment
	for _, seg := range segments {
		if skip := min(part.Offset, seg.Size); skip > 0 {
			part.Offset -= skip
			seg.Offset, seg.Size = seg.Offset+skip, seg.Size-skip
		}
		if seg.Size = min(seg.Size, part.Size); seg.Size > 0 {
			part.Size -= seg.Size
			wanted = append(wanted, seg)
		}
	}
	return &contentReader{bodies: s.bodies, segments: wanted}
}

// cut are the segments of a part of the content.
func (s *state) cut(segments []segment, part span) []segment {
	return s.read(segments, part).segments
}

// contentReader reads segments one after another. It implements io.WriterTo, so
// that a file goes to a connection without passing through the process.
type contentReader struct {
	bodies   bodies
	segments []segment
}

func (c *contentReader) WriteTo(w io.Writer) (written int64, err error) {
	for _, seg := range c.segments {
		n, err := c.copySegment(w, seg)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

func (c *contentReader) copySegment(w io.Writer, seg segment) (n int64, err error) {
	body, err := c.bodies.open(seg.Body, seg.Offset)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	n, err = io.CopyN(w, body, seg.Size)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("s3: body %s is shorter than it was", seg.Body)
	}
	return n, err
}
