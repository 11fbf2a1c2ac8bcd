package drift

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent/known"
	"irkit.dev/irkit/evidence"
)

// File is one path of an image's merged file system: a line of the artifact image-index.
type File struct {
	Path    string           `json:"path"`
	PathB64 string           `json:"path_b64,omitempty"` // the exact bytes, where not UTF-8
	Type    string           `json:"type"`               // file, dir, symlink, char, block, fifo
	Mode    string           `json:"mode"`               // in octal, with setuid, setgid, sticky
	UID     uint32           `json:"uid"`
	GID     uint32           `json:"gid"`
	Size    int64            `json:"size"`
	MTime   *time.Time       `json:"mtime,omitempty"`
	RDev    string           `json:"rdev,omitempty"` // major:minor of a device
	Link    *string          `json:"link,omitempty"`
	LinkB64 string           `json:"link_b64,omitempty"`
	Hard    string           `json:"hard_link_to,omitempty"`
	HardB64 string           `json:"hard_link_to_b64,omitempty"`
	Caps    string           `json:"capabilities_b64,omitempty"` // security.capability
	SHA256  *evidence.Digest `json:"sha256,omitempty"`
	Layer   int              `json:"layer"` // from 1, the lowest
	// Implied is a folder that no layer has by itself: whoever unpacks makes it as it likes.
	Implied bool `json:"implied,omitempty"`
	// Unresolved is a hard link whose content was not found in the layers.
	Unresolved bool `json:"unresolved,omitempty"`
}

// Types of a File.
const (
	typeFile    = "file"
	typeDir     = "dir"
	typeSymlink = "symlink"
	typeChar    = "char"
	typeBlock   = "block"
	typeFIFO    = "fifo"
)

var letters = map[string]byte{
	typeFile: known.Regular, typeDir: known.Directory, typeSymlink: known.Symlink, typeChar: known.Char, typeBlock: known.Block, typeFIFO: known.FIFO,
}

// text splits a name of any bytes into what JSON can hold and the exact bytes where that
// is not the same.
func text(s string) (shown, b64 string) {
	if utf8.ValidString(s) {
		return s, ""
	}
	return strings.ToValidUTF8(s, "\ufffd"), base64.StdEncoding.EncodeToString([]byte(s))
}

// exact is text undone.
func exact(shown, b64 string) string {
	if b64 == "" {
		return shown
	}
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return shown
	}
	return string(b)
}

func (f File) path() string { return exact(f.Path, f.PathB64) }

func (f File) target() string {
	if f.Link == nil {
		return ""
	}
	return exact(*f.Link, f.LinkB64)
}

// mark is how the worker knows the file; false where too little is known of it.
func (f File) mark() (known.File, bool) {
	mode, err := strconv.ParseUint(f.Mode, 8, 32)
	if err != nil || f.Implied || f.Unresolved || f.Type == typeFile && f.SHA256 == nil {
		return known.File{}, false
	}
	k := known.File{Path: f.path(), Type: letters[f.Type], Mode: uint32(mode), UID: f.UID, GID: f.GID, Size: f.Size, Link: f.target()}
	if f.MTime != nil {
		k.MTime = f.MTime.Unix()
	}
	if f.SHA256 != nil {
		k.SHA256 = *f.SHA256
	}
	if major, minor, ok := strings.Cut(f.RDev, ":"); ok {
		a, errA := strconv.ParseUint(major, 10, 32)
		b, errB := strconv.ParseUint(minor, 10, 32)
		if errA != nil || errB != nil {
			return known.File{}, false
		}
		k.RDev = unix.Mkdev(uint32(a), uint32(b))
	}
	k.Caps, err = base64.StdEncoding.DecodeString(f.Caps)
	return k, err == nil && k.Type != 0
}
