package bag

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
)

// openEntries reads meta/entries.jsonl and opens it for appending. What a crash left of
// a last line is set aside, never deleted.
func (w *Writer) openEntries() error {
	f, err := w.root.OpenFile(evidence.EntriesJSONL, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w.lines = f
	br := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return syncDir(w.root, path.Dir(evidence.EntriesJSONL))
		}
		var e evidence.Entry
		if err == nil {
			err = json.Unmarshal(line, &e)
		}
		if err != nil {
			if _, more := br.Peek(1); more == nil {
				return fmt.Errorf("read %s, line %d: %w", evidence.EntriesJSONL, len(w.entries)+1, err)
			}
			return w.setAside(line)
		}
		w.size += int64(len(line))
		w.entries = append(w.entries, e)
		if n, err := strconv.Atoi(e.ID); err == nil {
			w.next = max(w.next, n)
		}
	}
}

func (w *Writer) setAside(tail []byte) error {
	sum := evidence.Digest(sha256.Sum256(tail))
	name := fmt.Sprintf("%s.tail-%06d-%s.bin", evidence.EntriesJSONL, len(w.entries), sum.Hex()[:16])
	if err := w.writeTag(name, tail); err != nil {
		return err
	}
	if err := errors.Join(w.lines.Truncate(w.size), w.lines.Sync()); err != nil {
		return fmt.Errorf("take the unfinished line off %s: %w", evidence.EntriesJSONL, err)
	}
	w.told = append(w.told, "an unfinished line of "+evidence.EntriesJSONL+" was set aside as "+name)
	return nil
}

// file writes an entry's line and syncs it. err is what went wrong with the artifact; it is
// returned with the entry. When the line itself cannot be written, no entry is returned, and
// Freeze files what was left.
func (w *Writer) file(e evidence.Entry, err error) (evidence.Entry, error) {
	line, lerr := custody.Line(e)
	if lerr == nil {
		lerr = w.appendLine(append(line, '\n'), e)
	}
	if lerr != nil {
		return evidence.Entry{}, errors.Join(err, fmt.Errorf("write its line in %s: %w", evidence.EntriesJSONL, lerr))
	}
	// One that stays is cleared by Freeze.
	_ = w.kase.Remove(w.announcement(e.ID))
	return e, err
}

func (w *Writer) appendLine(line []byte, e evidence.Entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.putLine(line)
	if isFull(err) {
		w.full = true
		if err = w.freeReserve(); err == nil {
			err = w.putLine(line)
		}
	}
	if err == nil {
		w.size += int64(len(line))
		w.entries = append(w.entries, e)
	}
	return err
}

// putLine appends a line, or leaves the file as it was.
func (w *Writer) putLine(line []byte) error {
	_, err := w.lines.Write(line)
	if err == nil {
		err = w.lines.Sync()
	}
	if err != nil {
		return errors.Join(err, w.lines.Truncate(w.size), w.lines.Sync())
	}
	return nil
}

// announce tells in the case folder what is arriving, so that a crash does not take away
// where the bytes came from.
func (w *Writer) announce(e evidence.Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := w.kase.MkdirAll(path.Dir(w.announcement(e.ID)), 0o700); err != nil {
		return err
	}
	return w.kase.WriteFile(w.announcement(e.ID), b, 0o600)
}

func (w *Writer) announcement(id string) string { return path.Join(w.id+".arriving", id+".json") }

// announced is what an interrupted session told of an entry; else what its name tells.
func (w *Writer) announced(id string) (evidence.Entry, bool) {
	var e evidence.Entry
	b, err := w.kase.ReadFile(w.announcement(id))
	if err != nil {
		return e, false
	}
	if err := json.Unmarshal(bytes.TrimSpace(b), &e); err != nil || e.ID != id {
		return evidence.Entry{}, false
	}
	return e, true
}
