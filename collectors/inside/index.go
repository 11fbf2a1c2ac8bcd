//go:build linux

package inside

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/evidence"
)

// Name is one line of an index: one name of a tree, stored or not. What happened to
// the content stands in Content; its bytes are in the tar beside the index, under the
// same path without the leading slash.
type Name struct {
	Path       string            `json:"path"`
	PathB64    string            `json:"path_b64,omitempty"` // the exact bytes, where not UTF-8
	Type       string            `json:"type"`               // file, dir, symlink, char, block, fifo, socket, unknown
	Mode       string            `json:"mode"`               // permission bits in octal, with setuid, setgid, sticky
	UID        uint32            `json:"uid"`
	GID        uint32            `json:"gid"`
	Size       int64             `json:"size"`
	NLink      uint32            `json:"nlink"`
	Inode      uint64            `json:"inode"`
	Dev        string            `json:"dev"`            // major:minor
	RDev       string            `json:"rdev,omitempty"` // of a device
	ATime      *time.Time        `json:"atime,omitempty"`
	MTime      *time.Time        `json:"mtime,omitempty"`
	CTime      *time.Time        `json:"ctime,omitempty"`
	BTime      *time.Time        `json:"btime,omitempty"`
	Link       *string           `json:"link,omitempty"` // target of a symbolic link, as it stands
	LinkB64    string            `json:"link_b64,omitempty"`
	HardLink   string            `json:"hard_link_to,omitempty"` // the path that holds the content
	HardB64    string            `json:"hard_link_to_b64,omitempty"`
	Xattrs     map[string]string `json:"xattrs,omitempty"` // base64
	Caps       []string          `json:"capabilities,omitempty"`
	Flags      []string          `json:"flags,omitempty"`  // immutable, append, nodump, encrypted, verity
	SHA256     *evidence.Digest  `json:"sha256,omitempty"` // of the bytes as the tar gives them back
	HMACSHA256 string            `json:"hmac_sha256,omitempty"`
	Read       *int64            `json:"read,omitempty"` // bytes that came; less than size: zeros fill the rest
	Sparse     bool              `json:"sparse,omitempty"`
	Content    string            `json:"content"`            // stored, hard-link, none (has none), in-image, left-out, unread
	InImage    bool              `json:"in_image,omitempty"` // it is as the image has it: the tar has it not
	Reason     string            `json:"reason,omitempty"`
	Changed    bool              `json:"changed,omitempty"` // while it was read
	Mount      string            `json:"mount,omitempty"`   // type of the file system that is mounted here
}

// Contents of a Name.
const (
	stored    = "stored"
	hardLink  = "hard-link"
	noContent = "none"
	inImage   = "in-image"
	leftOut   = "left-out"
	unread    = "unread"
)

var typeNames = map[uint32]string{
	unix.S_IFREG: "file", unix.S_IFDIR: "dir", unix.S_IFLNK: "symlink", unix.S_IFCHR: "char",
	unix.S_IFBLK: "block", unix.S_IFIFO: "fifo", unix.S_IFSOCK: "socket",
}

// describe begins a line.
func describe(p string, m meta) Name {
	n := Name{
		Mode: "0" + strconv.FormatUint(uint64(m.mode&0o7777), 8), UID: m.uid, GID: m.gid, Size: m.size, NLink: m.nlink,
		Inode: m.Ino, Dev: device(m.Dev), Type: typeNames[m.kind()], Content: noContent,
		ATime: &m.atime, MTime: &m.mtime, CTime: &m.ctime,
	}
	n.Path, n.PathB64 = text(p)
	if n.Type == "" {
		n.Type = "unknown"
	}
	if k := m.kind(); k == unix.S_IFCHR || k == unix.S_IFBLK {
		n.RDev = device(m.rdev)
	}
	if !m.btime.IsZero() {
		n.BTime = &m.btime
	}
	n.Flags = flags(m.attributes)
	return n
}

// flags are the attributes of an inode that say what may not be done to it (statx(2)); one
// that resists removal is immutable.
func flags(attributes uint64) (names []string) {
	for _, f := range []struct {
		bit  uint64
		name string
	}{
		{unix.STATX_ATTR_IMMUTABLE, "immutable"}, {unix.STATX_ATTR_APPEND, "append"}, {unix.STATX_ATTR_NODUMP, "nodump"},
		{unix.STATX_ATTR_ENCRYPTED, "encrypted"}, {unix.STATX_ATTR_VERITY, "verity"},
	} {
		if attributes&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

func device(d uint64) string { return fmt.Sprintf("%d:%d", unix.Major(d), unix.Minor(d)) }

func (n *Name) attributes(all map[string][]byte) {
	for k, v := range all {
		if n.Xattrs == nil {
			n.Xattrs = map[string]string{}
		}
		name, _ := text(k)
		n.Xattrs[name] = base64.StdEncoding.EncodeToString(v)
		if k == "security.capability" {
			n.Caps = fileCaps(v)
		}
	}
}

// fileCaps names the permitted capabilities of a file (struct vfs_cap_data,
// linux/capability.h: revision and flags, then permitted and inheritable, 32 bits each).
func fileCaps(b []byte) []string {
	if len(b) < 12 {
		return nil
	}
	mask := uint64(binary.LittleEndian.Uint32(b[4:]))
	if len(b) >= 20 {
		mask |= uint64(binary.LittleEndian.Uint32(b[12:])) << 32
	}
	return capabilities(strconv.FormatUint(mask, 16))
}

// spool keeps an index, compressed in memory, until the tar that it tells of is out.
type spool struct {
	buf bytes.Buffer
	z   *zstd.Encoder
}

func newSpool() (*spool, error) {
	s := &spool{}
	z, err := zstd.NewWriter(&s.buf, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	s.z = z
	return s, nil
}

func (s *spool) add(n Name) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(n); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	if _, err := s.z.Write(b.Bytes()); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	return nil
}

// writeTo ends the spool and writes the lines that it was given.
func (s *spool) writeTo(o *out) error {
	if err := s.z.Close(); err != nil {
		return fmt.Errorf("index: %w", err)
	}
	d, err := zstd.NewReader(&s.buf, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	defer d.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{o}, struct{ io.Reader }{d}, make([]byte, 64<<10))
	return err
}
