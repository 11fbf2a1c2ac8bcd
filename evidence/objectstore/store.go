// Package objectstore keeps sealed bundles in an S3 bucket, locked where it is asked to.
//
// Each file is one single PUT that carries the file's SHA-256 (x-amz-checksum-sha256,
// which the server proves and keeps), the condition that the key be absent
// (If-None-Match: *) and the Object Lock; then it is read back. Never in parts: a store
// of parts keeps no digest of the whole, and the client library drops the condition
// on the way (Amazon S3 User Guide: conditional writes, checking object integrity).
package objectstore

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"irkit.dev/irkit/evidence"
)

// MaxSize is the largest file of one PUT (Amazon S3 User Guide, uploading objects).
const MaxSize = 5 << 30

// worthAsking is the size from which a file is asked for before it is sent.
const worthAsking = 256 << 10

// Store is a bucket, or what stands under a prefix in one. It is safe for concurrent use.
type Store struct {
	cfg    Config
	client *minio.Client
	core   minio.Core
	sse    encrypt.ServerSide
}

// Open connects to the bucket and asks it one thing, so that a wrong address, a wrong
// key or a bucket that cannot lock is known before anything is sent. It answers within
// Config.Patience; the error then wraps ErrUnreachable or ErrRefused.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name(cfg), err)
	}
	return s, nil
}

func open(ctx context.Context, cfg Config) (*Store, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	host, secure, err := cfg.host()
	if err != nil {
		return nil, err
	}
	rt, err := transport(cfg, secure)
	if err != nil {
		return nil, err
	}
	creds, err := cfg.credentials()
	if err != nil {
		return nil, err
	}
	region := cfg.Region
	if region == "" && cfg.Endpoint != "" {
		region = "us-east-1" // what servers that know no regions expect
	}
	client, err := minio.New(host, &minio.Options{Creds: creds, Secure: secure, Transport: rt, Region: region,
		BucketLookup: minio.BucketLookupAuto, MaxRetries: 1}) // try counts, and opens the source anew each time
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, client: client, core: minio.Core{Client: client}}
	switch cfg.SSE {
	case "AES256":
		s.sse = encrypt.NewSSE()
	case "aws:kms":
		if s.sse, err = encrypt.NewSSEKMS(cfg.KMSKeyID, nil); err != nil {
			return nil, err
		}
	}
	return s, s.hello(ctx)
}

// hello asks for the bucket's Object Lock configuration: its answer has a body, and
// so tells a wrong key from a missing permission, which is no reason to stop.
func (s *Store) hello(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.patience(), ErrUnreachable)
	defer cancel()
	var state string
	err := s.try(ctx, func() error {
		var err error
		state, _, _, _, err = s.client.GetObjectLockConfig(ctx, s.cfg.Bucket)
		return err
	})
	wanted := s.cfg.Lock != NoLock || s.cfg.LegalHold
	switch code := errorCode(err); {
	case err == nil && wanted && state != "Enabled", wanted && code == "ObjectLockConfigurationNotFoundError":
		return hinted{fmt.Errorf("lock asked for, but bucket has no Object Lock: %w", ErrRefused), "Object Lock and versioning are switched on when a bucket is made"}
	case err == nil, code == "AccessDenied", code == "ObjectLockConfigurationNotFoundError", code == "NotImplemented":
		return nil
	}
	return err
}

// String is s3://bucket/prefix.
func (s *Store) String() string { return name(s.cfg) }

func name(c Config) string { return "s3://" + path.Join(c.Bucket, c.Prefix) }

func (s *Store) full(key string) string { return path.Join(s.cfg.Prefix, key) }

// Put implements [evidence.Store]. When the store went out of reach after the
// last byte, whether the key is there is not known: the same Put again tells.
//
// When a lock was asked for and cannot be read back, the error wraps ErrNotLocked, and
// the receipt is returned with it: the bytes are there, and can be deleted.
func (s *Store) Put(ctx context.Context, key string, f evidence.File) (evidence.Receipt, error) {
	r, err := s.put(ctx, key, f)
	if err != nil {
		return r, fmt.Errorf("put %s into %s: %w", strconv.QuoteToASCII(key), s, err)
	}
	return r, nil
}

func (s *Store) put(ctx context.Context, key string, f evidence.File) (evidence.Receipt, error) {
	if err := evidence.CheckKey(key); err != nil {
		return evidence.Receipt{}, err
	}
	if f.Size < 0 || f.Size > MaxSize {
		return evidence.Receipt{}, fmt.Errorf("%d bytes: one PUT takes at most %d: %w", f.Size, int64(MaxSize), ErrRefused)
	}
	var version string
	if f.Size > worthAsking {
		if r, err := s.stat(ctx, key, ""); err == nil && r.Size == f.Size && r.SHA256 == f.SHA256 {
			r.Already = true
			return s.checkLock(ctx, r)
		} // else the PUT itself tells
	}
	err := s.try(ctx, func() error {
		var err error
		version, err = s.send(ctx, key, f)
		return err
	})
	already := errorCode(err) == "PreconditionFailed"
	if err != nil && !already {
		return evidence.Receipt{}, err
	}
	r, err := s.stat(ctx, key, version)
	switch {
	case err != nil:
		return evidence.Receipt{}, fmt.Errorf("read back: %w", err)
	case already && (r.Size != f.Size || r.SHA256 != f.SHA256):
		return evidence.Receipt{}, fmt.Errorf("%s stands there: %w", r.SHA256, evidence.ErrExists)
	case r.Size != f.Size || r.SHA256 != f.SHA256:
		return evidence.Receipt{}, fmt.Errorf("store holds %s after it took %s: %w", r.SHA256, f.SHA256, ErrRefused)
	}
	r.Already = already
	return s.checkLock(ctx, r)
}

// send is one try of one PUT.
func (s *Store) send(ctx context.Context, key string, f evidence.File) (version string, err error) {
	src, err := f.Open()
	if err != nil {
		return "", sourceError{fmt.Errorf("open source: %w", err)}
	}
	defer src.Close()
	body := prove(src, f)
	if f.Size == 0 {
		if err := body.finish(); err != nil {
			return "", sourceError{err}
		}
	}
	o := minio.PutObjectOptions{
		UserMetadata:         map[string]string{"x-amz-checksum-sha256": base64.StdEncoding.EncodeToString(f.SHA256[:])},
		DisableMultipart:     true,
		DisableContentSha256: true, // no chunked signature: the digest of the whole is signed
		ServerSideEncryption: s.sse,
	}
	o.SetMatchETagExcept("*")
	if s.cfg.Lock != NoLock {
		o.Mode, o.RetainUntilDate = minio.RetentionMode(s.cfg.Lock), s.now().Add(s.cfg.Retain).Truncate(time.Second)
	}
	if s.cfg.LegalHold {
		o.LegalHold = minio.LegalHoldEnabled
	}
	info, err := s.core.PutObject(ctx, s.cfg.Bucket, s.full(key), body, f.Size, "", f.SHA256.Hex(), o)
	if fault := body.fault(); fault != nil {
		return "", sourceError{fault}
	}
	return info.VersionID, err
}

func (s *Store) now() time.Time {
	if s.cfg.Now != nil {
		return s.cfg.Now()
	}
	return time.Now()
}

// Open implements [evidence.Store]. What is read is what the store sends: the digest
// of the whole is the caller's to compare.
func (s *Store) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := evidence.CheckKey(key); err != nil {
		return nil, fmt.Errorf("open %s in %s: %w", strconv.QuoteToASCII(key), s, err)
	}
	rc, err := s.get(ctx, key, "")
	if err != nil {
		return nil, fmt.Errorf("open %s in %s: %w", strconv.QuoteToASCII(key), s, err)
	}
	return rc, nil
}

// List implements [evidence.Store]. Its receipts have neither digest nor lock.
func (s *Store) List(ctx context.Context, prefix string, fn func(evidence.Receipt) error) error {
	if prefix != "" {
		if err := evidence.CheckKey(prefix); err != nil {
			return fmt.Errorf("list %s in %s: %w", strconv.QuoteToASCII(prefix), s, err)
		}
	}
	base := ""
	if s.cfg.Prefix != "" {
		base = s.cfg.Prefix + "/"
	}
	under := base
	if prefix != "" {
		under += prefix + "/"
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.client.ListObjectsIter(ctx, s.cfg.Bucket, minio.ListObjectsOptions{Prefix: under, Recursive: true}) {
		if o.Err != nil {
			return fmt.Errorf("list %s in %s: %w", strconv.QuoteToASCII(prefix), s, explain(ctx, o.Err))
		}
		key, ok := strings.CutPrefix(o.Key, base)
		if !ok || evidence.CheckKey(key) != nil {
			continue // a folder's placeholder, or a key that no irkit wrote
		}
		if err := fn(evidence.Receipt{Key: key, Size: o.Size, Stored: o.LastModified.UTC()}); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("list %s in %s: %w", strconv.QuoteToASCII(prefix), s, err)
	}
	return nil
}
