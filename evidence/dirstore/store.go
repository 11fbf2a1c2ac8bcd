// Package dirstore keeps sealed bundles in a folder: a disk, a mounted share.
//
// A file appears under its key whole and synced to disk, or not at all, and is never
// replaced: it is written under another name, synced, and then linked to its
// key, which fails where something stands already. All access goes through os.Root, so
// that neither a key nor a link that someone planted leads out of the folder.
package dirstore

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"irkit.dev/irkit/evidence"
)

// incoming is where files stand while they are written. What is found there after
// a crash is not part of the store, and may be deleted.
const incoming = ".incoming"

// Store is a folder. It is safe for concurrent use, also by several processes.
type Store struct {
	name string
	root *os.Root
}

// Open opens the folder, and makes it (0700) when it is not there.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	return &Store{name: abs, root: root}, nil
}

// Close gives the folder's handle back.
func (s *Store) Close() error { return s.root.Close() }

// String is the folder's absolute path.
func (s *Store) String() string { return s.name }

func checkKey(key string) error {
	if err := evidence.CheckKey(key); err != nil {
		return err
	}
	if key == incoming || strings.HasPrefix(key, incoming+"/") {
		return fmt.Errorf("key %q: reserved: %w", key, evidence.ErrKey)
	}
	return nil
}

// Put implements [evidence.Store].
func (s *Store) Put(ctx context.Context, key string, f evidence.File) (evidence.Receipt, error) {
	r, err := s.put(ctx, key, f)
	if err != nil {
		return evidence.Receipt{}, fmt.Errorf("put %s into %s: %w", quoted(key), s.name, err)
	}
	return r, nil
}

func (s *Store) put(ctx context.Context, key string, f evidence.File) (evidence.Receipt, error) {
	if err := checkKey(key); err != nil {
		return evidence.Receipt{}, err
	}
	if _, err := s.root.Lstat(key); err == nil {
		return s.already(ctx, key, f)
	}
	if err := s.root.MkdirAll(incoming, 0o700); err != nil {
		return evidence.Receipt{}, err
	}
	temp := incoming + "/" + rand.Text()
	defer s.root.Remove(temp) //nolint:errcheck // gone already, or a leftover that Open's contract names
	if err := s.write(ctx, temp, f); err != nil {
		return evidence.Receipt{}, err
	}
	made, err := s.makeParents(key)
	if err != nil {
		return evidence.Receipt{}, err
	}
	if err := s.publish(ctx, temp, key, f); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return s.already(ctx, key, f)
		}
		return evidence.Receipt{}, err
	}
	for _, dir := range append(made, path.Dir(key)) {
		if err := s.syncDir(dir); err != nil {
			return evidence.Receipt{}, err
		}
	}
	return s.receipt(key, f.SHA256)
}

// write copies f to a new file, synced, and refuses what is not of f's size and digest.
func (s *Store) write(ctx context.Context, name string, f evidence.File) error {
	src, err := f.Open()
	if err != nil {
		return fmt.Errorf("open source: %w", err)
	}
	defer src.Close()
	dst, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	// One byte more than announced is enough to know that the source is longer.
	n, err := io.Copy(io.MultiWriter(dst, h), io.LimitReader(reader{ctx, src}, f.Size+1))
	if err == nil && n != f.Size {
		err = fmt.Errorf("source has not the %d bytes that were announced: %w", f.Size, io.ErrUnexpectedEOF)
	}
	if got := evidence.Digest(h.Sum(nil)); err == nil && got != f.SHA256 {
		err = fmt.Errorf("source has digest %s, announced was %s", got, f.SHA256)
	}
	if err == nil {
		err = dst.Sync()
	}
	return errors.Join(err, dst.Close())
}

// publish gives a whole file its key. Where the file system has no hard links
// (FAT, some shares) the bytes are copied to an exclusively created file instead.
func (s *Store) publish(ctx context.Context, temp, key string, f evidence.File) error {
	err := s.root.Link(temp, key)
	if err == nil || errors.Is(err, fs.ErrExist) || !noLinks(err) {
		return err
	}
	again := evidence.File{Size: f.Size, SHA256: f.SHA256, Open: func() (io.ReadCloser, error) { return s.root.Open(temp) }}
	err = s.write(ctx, key, again)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return errors.Join(err, s.root.Remove(key))
	}
	return err
}

// makeParents makes the folders above key, and names those that must be synced.
func (s *Store) makeParents(key string) ([]string, error) {
	dirs := []string{"."}
	for i, c := range key {
		if c != '/' {
			continue
		}
		dir := key[:i]
		if err := s.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		dirs = append(dirs, dir)
	}
	return dirs[:len(dirs)-1], nil
}

// already answers a Put of a key that is there.
func (s *Store) already(ctx context.Context, key string, f evidence.File) (evidence.Receipt, error) {
	r, err := s.stat(ctx, key)
	if err != nil {
		return evidence.Receipt{}, err
	}
	if r.Size != f.Size || r.SHA256 != f.SHA256 {
		return evidence.Receipt{}, fmt.Errorf("%s stands there: %w", r.SHA256, evidence.ErrExists)
	}
	r.Already = true
	return r, nil
}
