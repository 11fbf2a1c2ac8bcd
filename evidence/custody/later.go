package custody

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
)

// Continue opens the chain that follows a sealed bundle: one file a record in
// evidence.CustodyDir under the case folder's root, named by evidence.CustodyName. The
// first record's prev is the head of the bundle's own log, and its seal_sha256 the seal
// digest. Records are never changed once written; the folder is made when the first
// comes. It checks both logs, and fails when either does not hold, the bundle has no seal, or
// anybody, this process too, still has the bundle's own log open.
func Continue(caseRoot *os.Root, o Options) (*Log, error) {
	manifest, err := caseRoot.ReadFile(path.Join(o.Bundle, evidence.TagManifestSHA256))
	if err != nil {
		return nil, fmt.Errorf("continue custody of %s: %w", o.Bundle, err)
	}
	if _, err := caseRoot.Lstat(path.Join(o.Bundle, evidence.SealSignature)); err != nil {
		return nil, fmt.Errorf("continue custody of %s: it has no seal: %w", o.Bundle, err)
	}
	// The bundle's own log no longer changes, so its file serves as the lock.
	f, err := caseRoot.Open(path.Join(o.Bundle, evidence.CustodyJSONL))
	if err != nil {
		return nil, fmt.Errorf("continue custody of %s: %w", o.Bundle, err)
	}
	if err := lock(f); err != nil {
		return nil, errors.Join(fmt.Errorf("continue custody of %s: %w", o.Bundle, err), f.Close())
	}
	records, head, err := ReadBundle(caseRoot, o.Bundle)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	d := &folder{root: caseRoot, name: evidence.CustodyDir(o.Bundle)}
	l := &Log{o: o.defaults(), head: head, records: records}
	l.seal = evidence.Digest(sha256.Sum256(manifest)).Hex()
	l.put, l.shut = d.append, f.Close
	return l, nil
}

// ReadBundle reads a bundle's own log and what follows it beside the bundle, sealed or
// not, without a lock and without a change. Faults are as from Read.
func ReadBundle(caseRoot *os.Root, bundle string) ([]evidence.Record, Head, error) {
	in, head, err := readIn(caseRoot, bundle)
	if err != nil {
		return in, head, err
	}
	later, head, err := readLater(caseRoot, bundle, head)
	return append(in, later...), head, err
}

func readIn(caseRoot *os.Root, bundle string) ([]evidence.Record, Head, error) {
	f, err := caseRoot.Open(path.Join(bundle, evidence.CustodyJSONL))
	if err != nil {
		return nil, Head{}, fmt.Errorf("read custody log of %s: %w", bundle, err)
	}
	records, head, _, err := scan(f, Head{})
	if err := errors.Join(err, f.Close()); err != nil {
		return records, head, fmt.Errorf("read custody log of %s: %w", bundle, err)
	}
	return records, head, nil
}

func readLater(caseRoot *os.Root, bundle string, head Head) ([]evidence.Record, Head, error) {
	dir := evidence.CustodyDir(bundle)
	names, err := laterNames(caseRoot, dir)
	if err != nil {
		return nil, head, fmt.Errorf("read custody log beside %s: %w", bundle, err)
	}
	var all []evidence.Record
	for _, n := range names {
		b, err := readLimited(caseRoot, path.Join(dir, n))
		if err != nil {
			return all, head, fmt.Errorf("read custody log beside %s: %w", bundle, err)
		}
		records, next, _, err := scan(bytes.NewReader(b), head)
		if err == nil && (len(records) != 1 || n != evidence.CustodyName(head.Next, next.Digest)) {
			err = &BrokenError{head.Next, "file " + n + " is not named after its record"}
		}
		if err != nil {
			return all, head, fmt.Errorf("read custody log beside %s: %w", bundle, err)
		}
		all, head = append(all, records...), next
	}
	return all, head, nil
}

func laterNames(caseRoot *os.Root, dir string) ([]string, error) {
	d, err := caseRoot.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".jsonl") })
	slices.Sort(names)
	return names, errors.Join(err, d.Close())
}

func readLimited(root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxLine+2))
	return b, errors.Join(err, f.Close())
}

// folder is a log of one file a record.
type folder struct {
	root *os.Root
	name string
}

// append makes the record appear whole or not at all: written under another name, synced,
// then linked, which never replaces.
func (d *folder) append(line []byte, seq int, digest evidence.Digest) error {
	if err := d.root.MkdirAll(d.name, 0o700); err != nil {
		return err
	}
	name := path.Join(d.name, evidence.CustodyName(seq, digest))
	temp := name + ".writing"
	if err := d.root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(d.root, temp, line); err != nil {
		return errors.Join(err, d.root.Remove(temp))
	}
	if err := d.root.Rename(temp, name); err != nil {
		return err
	}
	return errors.Join(d.root.Chmod(name, 0o400), syncDir(d.root, d.name), syncDir(d.root, "."))
}
