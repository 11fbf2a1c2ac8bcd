package objectstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"

	"irkit.dev/irkit/evidence"
)

// Stat implements [evidence.Store]. Where the store tells no digest of the whole file, the
// file is read to compute it.
func (s *Store) Stat(ctx context.Context, key string) (evidence.Receipt, error) {
	if err := evidence.CheckKey(key); err != nil {
		return evidence.Receipt{}, fmt.Errorf("stat %s in %s: %w", strconv.QuoteToASCII(key), s, err)
	}
	r, err := s.stat(ctx, key, "")
	if err != nil {
		return evidence.Receipt{}, fmt.Errorf("stat %s in %s: %w", strconv.QuoteToASCII(key), s, err)
	}
	return r, nil
}

func (s *Store) stat(ctx context.Context, key, version string) (evidence.Receipt, error) {
	var info minio.ObjectInfo
	err := s.try(ctx, func() error {
		var err error
		info, err = s.client.StatObject(ctx, s.cfg.Bucket, s.full(key), minio.StatObjectOptions{Checksum: true, VersionID: version})
		return err
	})
	if err != nil {
		if info.IsDeleteMarker && errors.Is(err, evidence.ErrNotFound) {
			err = fmt.Errorf("a delete marker stands on top, earlier versions may be there: %w", err)
		}
		return evidence.Receipt{}, err
	}
	r := evidence.Receipt{Key: key, Size: info.Size, VersionID: info.VersionID, Stored: info.LastModified.UTC()}
	r.LockMode = info.Headers.Get("X-Amz-Object-Lock-Mode")
	r.LegalHold = info.Headers.Get("X-Amz-Object-Lock-Legal-Hold") == "ON"
	if v := info.Headers.Get("X-Amz-Object-Lock-Retain-Until-Date"); v != "" {
		until, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return evidence.Receipt{}, fmt.Errorf("lock date %q: %w", v, err)
		}
		r.RetainUntil = until.UTC()
	}
	if r.SHA256, err = checksum(info.ChecksumSHA256); err != nil {
		r.SHA256, err = s.digest(ctx, key, info.VersionID)
	}
	return r, err
}

var errNoDigest = errors.New("store tells no digest of the whole")

// checksum reads the header. A digest of parts ends in their number and is none of the whole.
func checksum(v string) (evidence.Digest, error) {
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil || len(b) != sha256.Size {
		return evidence.Digest{}, errNoDigest
	}
	return evidence.Digest(b), nil
}

func (s *Store) digest(ctx context.Context, key, version string) (evidence.Digest, error) {
	rc, err := s.get(ctx, key, version)
	if err != nil {
		return evidence.Digest{}, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, rc); err != nil {
		return evidence.Digest{}, errors.Join(err, rc.Close())
	}
	return evidence.Digest(h.Sum(nil)), rc.Close()
}

func (s *Store) get(ctx context.Context, key, version string) (io.ReadCloser, error) {
	var rc io.ReadCloser
	err := s.try(ctx, func() error {
		var err error
		rc, _, _, err = s.core.GetObject(ctx, s.cfg.Bucket, s.full(key), minio.GetObjectOptions{VersionID: version})
		return err
	})
	if err != nil {
		return nil, err
	}
	return &reading{ctx, rc}, nil
}

// reading tells a transfer that broke as ErrUnreachable.
type reading struct {
	ctx context.Context
	io.ReadCloser
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = explain(r.ctx, err)
	}
	return n, err
}
