package drift

import (
	"context"
	"encoding/base64"
	"iter"
	"strconv"
	"strings"
	"time"
)

// Kinds of a Row.
const (
	Added   = "added"
	Changed = "changed"
	Deleted = "deleted" // in the image, gone now
	// Unknown is a path that could not be compared; Reason says why. It is never called the same.
	Unknown = "unknown"
)

// unread is the content of a name whose content, or list of names, could not be had.
const unread = "unread"

// Row is one line of the artifact filesystem-drift: one path that is not as the image has it.
type Row struct {
	Change string `json:"change"`
	// What differs: type, content, size, mode, owner, mtime, link, device, capabilities.
	What  []string `json:"what,omitempty"`
	Image *File    `json:"image,omitempty"`
	Now   *Now     `json:"now,omitempty"`
	// Reason says why a path could not be compared, or why it is there: a folder that the
	// runtime made for a mount below it.
	Reason string `json:"reason,omitempty"`
}

// Summary counts a comparison.
type Summary struct {
	Same    int `json:"same"`
	Added   int `json:"added"`
	Changed int `json:"changed"`
	Deleted int `json:"deleted"`
	Unknown int `json:"unknown"`
	Mounted int `json:"mounted"` // paths on other mounts: not of the image
	Hidden  int `json:"hidden"`  // paths of the image below a mount: they cannot be seen
	Runtime int `json:"runtime"` // of the added: what the runtime made for mounts
}

// Compare walks image and container side by side, and gives emit each path that differs, in
// order of paths, in constant memory.
func Compare(ctx context.Context, x *Index, w *Walk, emit func(Row) error) (Summary, error) {
	c := &comparison{w: w, emit: emit}
	var failed error
	next, stop := iter.Pull(func(yield func(File) bool) {
		err := x.Each(ctx, func(f File) error {
			if !yield(f) {
				return context.Canceled
			}
			return nil
		})
		if failed == nil {
			failed = err
		}
	})
	defer stop()
	image, more := next()
	err := w.each(ctx, func(key string, n Now) error {
		for ; more && keyOf(image.path()) < key; image, more = next() {
			if err := c.gone(image); err != nil {
				return err
			}
		}
		c.enter(key, n)
		if more && keyOf(image.path()) == key {
			f := image
			image, more = next()
			return c.both(key, f, n)
		}
		return c.new(key, n)
	})
	for ; err == nil && more; image, more = next() {
		err = c.gone(image)
	}
	if err == nil {
		err = failed
	}
	return c.sum, err
}

type comparison struct {
	w     *Walk
	emit  func(Row) error
	sum   Summary
	mount string // key of the mount point below which the walk is; with mounted
	on    bool
	blind string // key of a folder that could not be listed; with why
	why   string
}

func below(key, above string) bool { return above == "" || strings.HasPrefix(key, above+"\x00") }

// enter notes where the walk is.
func (c *comparison) enter(key string, n Now) {
	if c.on && !below(key, c.mount) {
		c.on = false
	}
	if !c.on && n.Mount != "" && key != "" {
		c.mount, c.on = key, true
	}
	if c.why != "" && !below(key, c.blind) {
		c.why = ""
	}
	if c.why == "" && n.Type == typeDir && n.Content == unread {
		c.blind, c.why = key, n.Reason
	}
}

func (c *comparison) row(r Row) error {
	switch r.Change {
	case Added:
		c.sum.Added++
	case Changed:
		c.sum.Changed++
	case Deleted:
		c.sum.Deleted++
	default:
		c.sum.Unknown++
	}
	return c.emit(r)
}

// gone is a path of the image that the walk has not.
func (c *comparison) gone(f File) error {
	key := keyOf(f.path())
	switch {
	case c.on && (key == c.mount || below(key, c.mount)):
		c.sum.Hidden++
		return nil
	case c.why != "" && below(key, c.blind):
		return c.row(Row{Change: Unknown, Image: &f, Reason: "its folder: " + c.why})
	case len(c.w.Gaps) > 0:
		return c.row(Row{Change: Unknown, Image: &f, Reason: "not seen, and names may be missing: " + c.w.Gaps[0]})
	}
	return c.row(Row{Change: Deleted, Image: &f})
}

// new is a path that the image has not.
func (c *comparison) new(key string, n Now) error {
	switch {
	case c.on:
		c.sum.Mounted++
		return nil
	case n.Type == "unknown":
		return c.row(Row{Change: Unknown, Now: &n, Reason: n.Reason})
	}
	r := Row{Change: Added, Now: &n}
	if c.w.mounts[key] && n.Type == typeDir {
		r.Reason = "the runtime makes such a folder for a mount below it"
		c.sum.Runtime++
	}
	return c.row(r)
}

// both is a path that both sides have.
func (c *comparison) both(key string, f File, n Now) error {
	switch {
	case c.on:
		c.sum.Mounted, c.sum.Hidden = c.sum.Mounted+1, c.sum.Hidden+1
		return nil
	case n.Type == "unknown":
		return c.row(Row{Change: Unknown, Image: &f, Now: &n, Reason: n.Reason})
	}
	what, why := differs(f, n)
	switch {
	case len(what) > 0:
		return c.row(Row{Change: Changed, What: what, Image: &f, Now: &n, Reason: why})
	case why != "":
		return c.row(Row{Change: Unknown, Image: &f, Now: &n, Reason: why})
	}
	c.sum.Same++
	return nil
}

// differs names what is not the same; why is set where content could not be compared.
func differs(f File, n Now) (what []string, why string) {
	note := func(name string, differ bool) {
		if differ {
			what = append(what, name)
		}
	}
	if f.Unresolved {
		return nil, "in the image it is a hard link that leads to nothing"
	}
	if f.Type != n.Type {
		return []string{"type"}, ""
	}
	if f.Implied {
		return nil, ""
	}
	switch f.Type {
	case typeFile:
		note("size", f.Size != n.Size)
		switch {
		case f.SHA256 != nil && n.SHA256 != nil:
			note("content", *f.SHA256 != *n.SHA256)
		case f.Size != n.Size:
			note("content", true)
		default:
			why = "its content was not read: " + n.Reason
		}
		note("mtime", !sameSecond(f.MTime, n.MTime))
	case typeSymlink:
		if n.Link == nil {
			return nil, "where it leads was not read: " + n.Reason
		}
		note("link", f.target() != exact(*n.Link, n.LinkB64))
	case typeChar, typeBlock:
		note("device", f.RDev != n.RDev)
	}
	note("mode", f.Type != typeSymlink && octal(f.Mode) != octal(n.Mode))
	note("owner", f.UID != n.UID || f.GID != n.GID)
	note("capabilities", f.Caps != canonical(n.Xattrs["security.capability"]))
	return what, why
}

func octal(s string) uint64 {
	v, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return 1 << 40
	}
	return v
}

// canonical is base64 as this package writes it.
func canonical(b64 string) string {
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return b64
	}
	return base64.StdEncoding.EncodeToString(b)
}

// sameSecond compares as layers can: many have whole seconds only.
func sameSecond(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Unix() == b.Unix()
}
