package bag

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
)

var tagForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}$`)

// WriteTag writes a file of meta/, report/, timeline/ or seal/, or replaces it, whole or not
// at all, synced to disk. entries.jsonl and custody.jsonl have their own writers. It works
// after Freeze too, but not after Seal.
func (w *Writer) WriteTag(name string, b []byte) error {
	if err := w.checkTag(name); err != nil {
		return err
	}
	if err := w.writeTag(name, b); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// StreamTag is WriteTag of what write writes, for what is too long for memory. It never takes
// the room that is kept for the seal: on a full disk, and with an error of write, there is no
// file.
func (w *Writer) StreamTag(name string, write func(io.Writer) error) error {
	if err := w.checkTag(name); err != nil {
		return err
	}
	w.tags.Lock()
	defer w.tags.Unlock()
	err := w.mkdir(path.Dir(name))
	if err == nil {
		err = w.moveIn(name, write)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (w *Writer) checkTag(name string) error {
	dir, _, ok := strings.Cut(name, "/")
	switch {
	case !ok || !tagForm.MatchString(name) || len(name) > 200:
		return fmt.Errorf("write %q: not a name of a bundle's tag file", name)
	case dir != "meta" && dir != "report" && dir != "timeline" && dir != "seal":
		return fmt.Errorf("write %s: tag files stand in meta, report, timeline and seal", name)
	case strings.HasPrefix(name, evidence.EntriesJSONL) || strings.HasPrefix(name, evidence.CustodyJSONL) || name == evidence.AllowedSigners:
		return fmt.Errorf("write %s: it is not written by hand", name)
	}
	if err := unsealed(w.root); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// WriteJSON is WriteTag of a value, indented for people.
func (w *Writer) WriteJSON(name string, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return w.WriteTag(name, b.Bytes())
}

// writeTag writes beside the bundle and moves into it, so that a crash leaves nothing
// half there.
func (w *Writer) writeTag(name string, b []byte) error {
	w.tags.Lock()
	defer w.tags.Unlock()
	if dir := path.Dir(name); dir != "." {
		if err := w.mkdir(dir); err != nil {
			return err
		}
	}
	write := func(to io.Writer) error { _, err := to.Write(b); return err }
	err := w.moveIn(name, write)
	if isFull(err) && w.diskFull() {
		err = w.moveIn(name, write)
	}
	return err
}

func (w *Writer) moveIn(name string, write func(io.Writer) error) error {
	temp := w.id + ".writing"
	if err := w.writeSynced(temp, write); err != nil {
		return errors.Join(err, w.kase.Remove(temp))
	}
	if err := w.kase.Rename(temp, path.Join(w.id, name)); err != nil {
		return errors.Join(err, w.kase.Remove(temp))
	}
	return syncDir(w.root, path.Dir(name))
}

func (w *Writer) writeSynced(name string, write func(io.Writer) error) error {
	f, err := w.kase.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Sync(), f.Close())
}

// rewrite replaces meta/entries.jsonl.
func (w *Writer) rewrite(entries []evidence.Entry) error {
	var b []byte
	for _, e := range entries {
		line, err := custody.Line(e)
		if err != nil {
			return err
		}
		b = append(append(b, line...), '\n')
	}
	if err := w.writeTag(evidence.EntriesJSONL, b); err != nil {
		return err
	}
	f, err := w.root.OpenFile(evidence.EntriesJSONL, os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	err = w.lines.Close()
	w.lines, w.size, w.entries = f, int64(len(b)), entries
	return err
}
