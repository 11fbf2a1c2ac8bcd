package custody

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"irkit.dev/irkit/evidence"
)

// ErrTail is what Read answers when only the end of a log is not a whole record: a
// crash left it, or a writer is at work. The records before it are whole.
var ErrTail = errors.New("log ends in the middle of a record")

// BrokenError says where a chain does not hold.
type BrokenError struct {
	Seq    int // of the record that should stand there
	Reason string
}

// Error names the record and the reason.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("custody log broken at record %d: %s", e.Seq, e.Reason)
}

// Head is the end of a chain: the number of records, and the digest of the last line.
type Head struct {
	Next   int // sequence number of the record to come
	Digest evidence.Digest
}

// Prev is what the next record carries: 64 zeros when there is none before.
func (h Head) Prev() string { return h.Digest.Hex() }

// Read reads a log from its first record and checks the chain. The records before a
// fault are returned with it: ErrTail for a last line that is not whole, else a
// *BrokenError, or the reader's own error.
func Read(r io.Reader) ([]evidence.Record, error) {
	records, _, _, err := scan(r, Head{})
	return records, err
}

// scan reads records that follow after, and says where they end in the stream and what
// of it is no whole record.
func scan(r io.Reader, after Head) (records []evidence.Record, head Head, good int64, err error) {
	head = after
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := readLine(br)
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return records, head, good, nil
		}
		if errors.Is(err, io.EOF) {
			return records, head, good, fmt.Errorf("record %d: %w", head.Next, ErrTail)
		}
		if err != nil {
			return records, head, good, fmt.Errorf("read custody log at record %d: %w", head.Next, err)
		}
		rec, perr := parse(line)
		if perr != nil {
			if _, err := br.Peek(1); errors.Is(err, io.EOF) {
				return records, head, good, fmt.Errorf("record %d: %w", head.Next, ErrTail)
			}
			return records, head, good, &BrokenError{head.Next, perr.Error()}
		}
		if reason := follows(rec, head); reason != "" {
			return records, head, good, &BrokenError{head.Next, reason}
		}
		records = append(records, rec)
		head = Head{rec.Seq + 1, sha256.Sum256(line)}
		good += int64(len(line)) + 1
	}
}

// readLine reads up to LF and returns the line without it; io.EOF with what was there
// when no LF came.
func readLine(br *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		chunk, err := br.ReadSlice('\n')
		line = append(line, chunk...)
		if len(line) > MaxLine+1 {
			return nil, fmt.Errorf("line longer than %d bytes", MaxLine)
		}
		if err == nil {
			return line[:len(line)-1], nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func parse(line []byte) (evidence.Record, error) {
	var rec evidence.Record
	if i := bytes.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		return rec, fmt.Errorf("byte %d is not printable ASCII", i)
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if err := dec.Decode(&rec); err != nil {
		return rec, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return rec, errors.New("more than one value in a line")
	}
	return rec, nil
}

func follows(rec evidence.Record, head Head) string {
	prev, err := hex.DecodeString(rec.Prev)
	switch {
	case rec.V != 1:
		return fmt.Sprintf("version %d is not 1", rec.V)
	case rec.Seq != head.Next:
		return fmt.Sprintf("sequence number %d stands there", rec.Seq)
	case err != nil || !bytes.Equal(prev, head.Digest[:]):
		return "prev is not the digest of the line before"
	}
	return ""
}
