package custody

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"irkit.dev/irkit/evidence"
)

// file is a log in one file, appended to.
type file struct {
	root *os.Root
	name string
	f    *os.File
	log  *Log
	size int64 // of the whole records
}

// append writes one line, LF included. When it cannot, it takes back what it wrote.
func (w *file) append(line []byte, _ int, _ evidence.Digest) error {
	if err := unsealed(w.root); err != nil {
		return err
	}
	_, err := w.f.Write(line)
	if err == nil {
		err = w.f.Sync()
	}
	if err == nil {
		w.size += int64(len(line))
		return nil
	}
	if back := errors.Join(w.f.Truncate(w.size), w.f.Sync()); back != nil {
		w.log.broken = errors.Join(err, back)
	}
	return err
}

// load reads what is there, sets aside a tail, and records every tail that no record
// tells of yet: the crash may have come between the two.
func (w *file) load(ctx context.Context) error {
	records, head, good, err := scan(w.f, Head{})
	if err != nil && !errors.Is(err, ErrTail) {
		return err
	}
	if errors.Is(err, ErrTail) {
		if err := w.setAside(good, head.Next); err != nil {
			return err
		}
	}
	w.size, w.log.head, w.log.records = good, head, records
	return w.tellTails(ctx)
}

func (w *file) setAside(good int64, seq int) error {
	tail, err := io.ReadAll(io.NewSectionReader(w.f, good, MaxLine+2))
	if err != nil {
		return fmt.Errorf("read its unfinished end: %w", err)
	}
	sum := evidence.Digest(sha256.Sum256(tail))
	name := fmt.Sprintf("%s.tail-%06d-%s.bin", w.name, seq, sum.Hex()[:16])
	if err := writeNew(w.root, name, tail); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("set its unfinished end aside: %w", err)
	}
	if err := errors.Join(w.f.Truncate(good), w.f.Sync()); err != nil {
		return fmt.Errorf("take its unfinished end off: %w", err)
	}
	return nil
}

func (w *file) tellTails(ctx context.Context) error {
	known := map[string]bool{}
	for _, r := range w.log.records {
		for _, o := range r.Objects {
			known[o.Path] = true
		}
	}
	dir, err := w.root.Open(path.Dir(w.name))
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	for _, n := range names {
		p := path.Join(path.Dir(w.name), n)
		if !strings.HasPrefix(p, w.name+".tail-") || known[p] {
			continue
		}
		b, err := w.root.ReadFile(p)
		if err != nil {
			return err
		}
		_, _, err = w.log.Append(ctx, evidence.Record{
			Action:  evidence.ActRecovered,
			Objects: []evidence.Part{{Path: p, Size: int64(len(b)), SHA256: sha256.Sum256(b)}},
			Note:    "the log ended in the middle of a record; its unfinished end was set aside",
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// writeNew writes a file that must not be there yet, and syncs it and its folder.
func writeNew(root *os.Root, name string, b []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close(), syncDir(root, path.Dir(name)))
}
