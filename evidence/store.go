package evidence

import (
	"context"
	"errors"
	"io"
	"time"
)

// Sink is the only way into a bundle. It hashes the bytes as they pass, splits
// them at 1 GiB, and never holds a whole artifact.
//
// When r fails, what came is kept: the entry says truncated and why, and Add returns
// that entry together with an error that wraps r's. When the local disk is full,
// the same. An entry is returned whenever one was written; an error without an entry
// means that nothing was. With a.Absent set, r must be nil. Safe for concurrent use.
type Sink interface {
	Add(ctx context.Context, a Artifact, r io.Reader) (Entry, error)
}

// Errors of a Store.
var (
	ErrExists   = errors.New("already there with other bytes")
	ErrNotFound = errors.New("not there")
)

// File is one file on its way into a store. Open may be called more than once.
type File struct {
	Size   int64
	SHA256 Digest
	Open   func() (io.ReadCloser, error)
}

// Receipt says what a store holds under a key, as the store itself tells it.
type Receipt struct {
	Key         string    `json:"key"`
	Size        int64     `json:"size"`
	SHA256      Digest    `json:"sha256"`
	VersionID   string    `json:"version_id,omitempty"`
	LockMode    string    `json:"lock_mode,omitempty"` // as read back, not as asked for
	RetainUntil time.Time `json:"retain_until,omitzero"`
	LegalHold   bool      `json:"legal_hold,omitempty"`
	Stored      time.Time `json:"stored"`
	Already     bool      `json:"already,omitempty"` // the same bytes were there before
}

// Store is a place where sealed bundles go. It never replaces: Put of a key that is
// there with the same bytes answers with its receipt (Already), with other bytes it
// fails with ErrExists, and what was there is untouched. A Put that fails leaves no
// key behind. Open and Stat of an absent key fail with ErrNotFound. All honour ctx.
type Store interface {
	Put(ctx context.Context, key string, f File) (Receipt, error)
	Open(ctx context.Context, key string) (io.ReadCloser, error)
	Stat(ctx context.Context, key string) (Receipt, error)
	// List calls fn for each key under the prefix, in order, until fn fails.
	List(ctx context.Context, prefix string, fn func(Receipt) error) error
	// String names the place for people: a folder, s3://bucket/prefix.
	String() string
}
