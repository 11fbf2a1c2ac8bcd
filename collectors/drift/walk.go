package drift

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/payload"
)

// Now is one path as the worker found it: what is read of a line of a file system index.
type Now struct {
	Path    string            `json:"path"`
	PathB64 string            `json:"path_b64,omitempty"`
	Type    string            `json:"type"`
	Mode    string            `json:"mode"`
	UID     uint32            `json:"uid"`
	GID     uint32            `json:"gid"`
	Size    int64             `json:"size"`
	RDev    string            `json:"rdev,omitempty"`
	MTime   *time.Time        `json:"mtime,omitempty"`
	CTime   *time.Time        `json:"ctime,omitempty"`
	BTime   *time.Time        `json:"btime,omitempty"`
	Link    *string           `json:"link,omitempty"`
	LinkB64 string            `json:"link_b64,omitempty"`
	Xattrs  map[string]string `json:"xattrs,omitempty"`
	Caps    []string          `json:"capabilities,omitempty"`
	SHA256  *evidence.Digest  `json:"sha256,omitempty"`
	Content string            `json:"content"`
	InImage bool              `json:"in_image,omitempty"`
	Reason  string            `json:"reason,omitempty"`
	Mount   string            `json:"mount,omitempty"`
}

func (n Now) path() string { return exact(n.Path, n.PathB64) }

// Walk is a file system as the worker indexed it, sorted by path. Not safe for concurrent use.
type Walk struct {
	s   *sorter
	seq uint64
	// Gaps says why names may be missing in it; then nothing that is not there is called deleted.
	Gaps   []string
	mounts map[string]bool // folders above a mount point, and mount points
}

// NewWalk makes one; what does not fit into memory goes to dir.
func NewWalk(dir string) *Walk { return &Walk{s: newSorter(dir), mounts: map[string]bool{}} }

// Close frees the walk's files. It may be called twice.
func (w *Walk) Close() error { return w.s.close() }

// Read takes one index, line by line. A line that is none is a gap.
func (w *Walk) Read(ctx context.Context, r io.Reader) error {
	bad := 0
	over, err := payload.Lines(r, func(line []byte) error {
		var n Now
		if err := json.Unmarshal(line, &n); err == nil && strings.HasPrefix(n.path(), "/") {
			return w.add(ctx, n)
		}
		bad++
		return nil
	})
	if bad += over; bad > 0 {
		w.Gaps = append(w.Gaps, fmt.Sprintf("%d lines of the index cannot be read", bad))
	}
	if err != nil {
		w.Gaps = append(w.Gaps, "the index is not whole: "+err.Error())
		return fmt.Errorf("read file system index: %w", err)
	}
	return nil
}

const mostMounts = 16 << 10 // folders above mounts that are told from others

func (w *Walk) add(ctx context.Context, n Now) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	key := keyOf(n.path())
	if n.Mount != "" && key != "" {
		for at := key; at != "" && len(w.mounts) < mostMounts; {
			w.mounts[at] = true
			at = at[:max(0, strings.LastIndexByte(at, 0))]
		}
	}
	w.seq++
	return w.s.add(ctx, record{key: key, seq: w.seq, body: b})
}

// each gives every path once, a folder before what is below it. A path may have two lines: what
// it is, and that it could not be listed.
func (w *Walk) each(ctx context.Context, fn func(key string, n Now) error) error {
	var at string
	var now Now
	open := false
	err := w.s.each(ctx, func(rec record) error {
		var n Now
		if err := json.Unmarshal(rec.body, &n); err != nil {
			return fmt.Errorf("read walk: %w", err)
		}
		if open && rec.key == at {
			if now.Type == "unknown" || now.Type == "" {
				n, now = now, n
			}
			if n.Reason != "" && n.Content == unread {
				now.Content, now.Reason = unread, n.Reason
			}
			return nil
		}
		if open {
			if err := fn(at, now); err != nil {
				return err
			}
		}
		at, now, open = rec.key, n, true
		return nil
	})
	if err == nil && open {
		err = fn(at, now)
	}
	return err
}
