package dirstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"irkit.dev/irkit/evidence"
)

// Open implements [evidence.Store].
func (s *Store) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	f, err := s.open(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("open %s in %s: %w", quoted(key), s.name, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{reader{ctx, f}, f}, nil
}

func (s *Store) open(ctx context.Context, key string) (*os.File, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Lstat first: opening a pipe that someone planted would wait for ever.
	switch st, err := s.root.Lstat(key); {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR), err == nil && st.IsDir():
		return nil, evidence.ErrNotFound
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s, not a file", st.Mode().Type())
	}
	return s.root.Open(key)
}

// Stat implements [evidence.Store]. It reads the whole file: the digest is that of
// the bytes as they stand there now.
func (s *Store) Stat(ctx context.Context, key string) (evidence.Receipt, error) {
	r, err := s.stat(ctx, key)
	if err != nil {
		return evidence.Receipt{}, fmt.Errorf("stat %s in %s: %w", quoted(key), s.name, err)
	}
	return r, nil
}

func (s *Store) stat(ctx context.Context, key string) (evidence.Receipt, error) {
	f, err := s.open(ctx, key)
	if err != nil {
		return evidence.Receipt{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, reader{ctx, f}); err != nil {
		return evidence.Receipt{}, err
	}
	return s.receipt(key, evidence.Digest(h.Sum(nil)))
}

func (s *Store) receipt(key string, d evidence.Digest) (evidence.Receipt, error) {
	st, err := s.root.Lstat(key)
	if err != nil {
		return evidence.Receipt{}, err
	}
	return evidence.Receipt{Key: key, Size: st.Size(), SHA256: d, Stored: st.ModTime().UTC()}, nil
}

// List implements [evidence.Store]. Its receipts have no digest: Stat reads the bytes.
func (s *Store) List(ctx context.Context, prefix string, fn func(evidence.Receipt) error) error {
	under := ""
	if prefix != "" {
		if err := checkKey(prefix); err != nil {
			return fmt.Errorf("list %s in %s: %w", quoted(prefix), s.name, err)
		}
		under = prefix + "/"
	}
	keys, err := s.keys(ctx, under)
	if err != nil {
		return fmt.Errorf("list %s in %s: %w", quoted(prefix), s.name, err)
	}
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %s in %s: %w", quoted(prefix), s.name, err)
		}
		r, err := s.receipt(key, evidence.Digest{})
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list %s in %s: %w", quoted(prefix), s.name, err)
		}
		if err := fn(r); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) keys(ctx context.Context, under string) ([]string, error) {
	start := "."
	if under != "" {
		start = strings.TrimSuffix(under, "/")
	}
	var keys []string
	err := fs.WalkDir(s.root.FS(), start, func(p string, d fs.DirEntry, err error) error {
		switch {
		case p == start && errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && p == incoming:
			return fs.SkipDir
		case d.Type().IsRegular() && strings.HasPrefix(p, under):
			keys = append(keys, p)
		}
		return ctx.Err()
	})
	slices.Sort(keys) // by bytes, as S3 does; WalkDir sorts each folder by itself
	return keys, err
}

func (s *Store) syncDir(dir string) error {
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // some shares cannot sync a folder
	}
	return errors.Join(err, d.Close())
}

func noLinks(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EMLINK)
}

func quoted(key string) string { return strconv.QuoteToASCII(key) }

// reader ends with the context's error once that is done.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
