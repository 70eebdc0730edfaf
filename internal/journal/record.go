package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"

	"github.com/openpodidentity/podid/problem"
)

// The file is text: a first line that names the format and its version, then a
// line per record,
//
//	LENGTH CHECKSUM HEADCHECKSUM JSON
//
// LENGTH is that of JSON in bytes, CHECKSUM the CRC32C of JSON, HEADCHECKSUM the
// CRC32C of the 18 bytes before it, each eight hexadecimal digits. JSON is an
// array of Op without a newline. A record is synced before the next one is
// begun, so at most the last one can be torn.
const (
	formatLine = "podid-journal 1\n"
	headSize   = 3 * 9
	// maxRecord bounds JSON: a group of batches of MaxBatch together, or one
	// batch, with the brackets.
	maxRecord = 2*MaxBatch + 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeOps checks ops and encodes them, comma-separated.
func encodeOps(ops []Op) ([]byte, error) {
	var encoded []byte
	for i, op := range ops {
		if err := op.check(); err != nil {
			return nil, err
		}
		if i > 0 {
			encoded = append(encoded, ',')
		}
		raw, err := json.Marshal(op)
		if err != nil {
			return nil, fmt.Errorf("journal: encode %s: %w", op.Key, err)
		}
		encoded = append(encoded, raw...)
		if len(encoded) > MaxBatch {
			return nil, fmt.Errorf("journal: a batch is larger than %d bytes", MaxBatch)
		}
	}
	return encoded, nil
}

// opSize is about what an op takes in the file.
func opSize(key string, value json.RawMessage) int64 {
	return int64(len(key)+len(value)) + int64(len(`{"k":"","v":},`))
}

// appendRecord appends the record of a group of batches to buf.
func appendRecord(buf []byte, group []*batch) []byte {
	start := len(buf)
	buf = append(buf, make([]byte, headSize)...)
	for i, b := range group {
		separator := byte(',')
		if i == 0 {
			separator = '['
		}
		buf = append(buf, separator)
		buf = append(buf, b.encoded...)
	}
	buf = append(buf, ']')
	payload := buf[start+headSize:]
	head := fmt.Appendf(nil, "%08x %08x ", len(payload), crc32.Checksum(payload, castagnoli))
	head = fmt.Appendf(head, "%08x ", crc32.Checksum(head, castagnoli))
	copy(buf[start:], head)
	return append(buf, '\n')
}

// parseHead reads the 27 bytes before a record's JSON.
func parseHead(head []byte) (length int64, checksum uint32, ok bool) {
	n, err1 := strconv.ParseUint(string(head[:8]), 16, 32)
	sum, err2 := strconv.ParseUint(string(head[9:17]), 16, 32)
	own := fmt.Appendf(nil, "%08x ", crc32.Checksum(head[:18], castagnoli))
	ok = err1 == nil && err2 == nil && bytes.Equal(own, head[18:]) && n <= maxRecord
	return int64(n), uint32(sum), ok
}

// readLog reads the log f from its start and gives each record's ops to apply.
// end is where the last whole record ends; it is less than size when the last
// record is torn. Anything else that is not whole is a problem data-damaged.
func readLog(f *os.File, path string, apply func([]Op)) (size, end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("journal: stat: %w", err)
	}
	size = info.Size()
	r := bufio.NewReaderSize(f, 1<<16)
	first := make([]byte, len(formatLine))
	if _, err := io.ReadFull(r, first); err != nil || string(first) != formatLine {
		return size, 0, notAJournal(path, first)
	}
	for end = int64(len(formatLine)); end < size; {
		ops, length, err := readRecord(r)
		var damage *damage
		switch {
		case errors.As(err, &damage):
			if torn(f, end, size, damage) {
				return size, end, nil
			}
			return size, end, problem.New(problem.DataDamaged, "%s is damaged at offset %d: %s", path, end, damage.what)
		case err != nil:
			return size, end, fmt.Errorf("journal: read %s at offset %d: %w", path, end, err)
		}
		apply(ops)
		end += length
	}
	return size, end, nil
}

func notAJournal(path string, first []byte) error {
	p := problem.New(problem.DataDamaged, "%s is damaged at offset 0: its first line is not %q", path, formatLine[:len(formatLine)-1]).
		Because("the file is not a journal of podid")
	if bytes.HasPrefix(first, []byte("podid-journal ")) {
		return p.Because("the file was changed, or another version of podid wrote it").
			Fixed("use the version of podid that wrote it, or restore the directory from a copy")
	}
	return p
}

// damage is a record that is not as it was written.
type damage struct {
	what  string
	short bool // the file ends before the record does
}

func (d *damage) Error() string { return d.what }

// readRecord reads one record and returns its ops and its length in the file.
func readRecord(r io.Reader) ([]Op, int64, error) {
	var head [headSize]byte
	if err := readFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	length, checksum, ok := parseHead(head[:])
	if !ok {
		return nil, 0, &damage{what: "the head of a record does not have its checksum"}
	}
	// The head is as it was written, so the length is true and bounded.
	line := make([]byte, length+1)
	if err := readFull(r, line); err != nil {
		return nil, 0, err
	}
	payload := line[:length]
	if crc32.Checksum(payload, castagnoli) != checksum || line[length] != '\n' {
		return nil, 0, &damage{what: "a record does not have its checksum"}
	}
	var ops []Op
	if err := json.Unmarshal(payload, &ops); err != nil {
		return nil, 0, &damage{what: "a record is not a list of changes"}
	}
	for _, op := range ops {
		if err := op.check(); err != nil {
			return nil, 0, &damage{what: err.Error()}
		}
	}
	return ops, headSize + length + 1, nil
}

// readFull fills buf. A file that ends first is a short record, not damage.
func readFull(r io.Reader, buf []byte) error {
	_, err := io.ReadFull(r, buf)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &damage{what: "the last record is cut off", short: true}
	}
	return err
}

// torn reports whether what is wrong between offset end and the end of the file
// is a write that never finished, so that nobody was told it had.
//
// A process that dies leaves the beginning of a record. A machine that dies may
// also leave a record of full length of which some blocks never reached the
// disk and read as NUL, which no record contains. In both cases no record follows.
func torn(f *os.File, end, size int64, d *damage) bool {
	if d.short {
		return true
	}
	if size-end > headSize+maxRecord+1 {
		return false
	}
	tail := make([]byte, size-end)
	if _, err := f.ReadAt(tail, end); err != nil {
		return false
	}
	if i := bytes.IndexByte(tail, '\n'); i >= 0 && i < len(tail)-1 {
		return false
	}
	return hasHole(tail, end)
}

// hasHole reports whether a whole block of the tail, which begins at offset, is
// NUL. The first and the last block of the tail may be parts of one.
func hasHole(tail []byte, offset int64) bool {
	const block = 512
	for len(tail) > 0 {
		n := min(int(block-offset%block), len(tail))
		if len(bytes.Trim(tail[:n], "\x00")) == 0 {
			return true
		}
		tail, offset = tail[n:], offset+int64(n)
	}
	return false
}
