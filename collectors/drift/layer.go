package drift

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"irkit.dev/irkit/evidence"
)

// Layer is one layer's tar, uncompressed. Open gives it from its beginning; reading it to its
// end fails where the bytes are not those of the layer's digest.
type Layer struct {
	Name string // digest
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Limits bound what a hostile image can cost. Zero fields take defaults.
type Limits struct {
	Entries int   // of all layers; 4,000,000
	Bytes   int64 // of all layers, uncompressed, with holes; 64 GiB
	Links   int   // hard links; 200,000
	Dir     string
}

func (l Limits) withDefaults() Limits {
	if l.Entries <= 0 {
		l.Entries = 4_000_000
	}
	if l.Bytes <= 0 {
		l.Bytes = 64 << 30
	}
	if l.Links <= 0 {
		l.Links = 200_000
	}
	return l
}

// ErrLimit says that an image is bigger than the limits.
var ErrLimit = errors.New("image is bigger than what is read of one")

const (
	maxPath = 64 << 10
	// Whiteouts of the OCI image specification, layer.md.
	whiteoutPrefix = ".wh."
	opaque         = ".wh..wh..opq"
	metaPrefix     = ".wh..wh."
)

// Kinds of a record's body: its first byte.
const (
	kindFile     = 'f' // and all that is no folder
	kindDir      = 'd'
	kindWhiteout = 'w'
	kindOpaque   = 'o'
)

// reading is one image while its layers are read.
type reading struct {
	Limits
	s       *sorter
	seq     uint64
	entries int
	links   []hardLink
	notes   map[string]int
}

// hardLink is a name whose content another name has.
type hardLink struct {
	record
	file   File
	target string // key
}

func (r *reading) note(what string) { r.notes[what]++ }

// layer reads one layer, numbered from 1.
func (r *reading) layer(ctx context.Context, n int, l Layer) error {
	body, err := l.Open(ctx)
	if err != nil {
		return fmt.Errorf("open layer %s: %w", l.Name, err)
	}
	defer body.Close()
	counted := &budget{ctx: ctx, r: body, left: &r.Bytes}
	t := tar.NewReader(counted)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read layer %s: %w", l.Name, err)
		}
		if r.entries++; r.entries > r.Entries {
			return fmt.Errorf("read layer %s: %w: more than %d entries", l.Name, ErrLimit, r.Entries)
		}
		if err := r.entry(ctx, uint32(n), h, t); err != nil {
			return fmt.Errorf("read layer %s: %w", l.Name, err)
		}
	}
	if _, err := io.Copy(io.Discard, counted); err != nil { // what follows the tar counts for the digest
		return fmt.Errorf("read layer %s: %w", l.Name, err)
	}
	return nil
}

// entry files one entry of a layer.
func (r *reading) entry(ctx context.Context, layer uint32, h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	p := path.Clean("/" + h.Name)
	if len(p) > maxPath || strings.ContainsRune(p, 0) {
		r.note("names that no file can have")
		return nil
	}
	if strings.HasPrefix(h.Name, "/") || leadsUp(h.Name) {
		r.note("names that are absolute or lead upwards: taken as below the root")
	}
	r.seq++
	rec := record{key: keyOf(p), layer: layer, seq: r.seq}
	switch dir, base := path.Split(p); {
	case base == opaque:
		rec.key, rec.body = keyOf(dir), []byte{kindOpaque}
		return r.s.add(ctx, rec)
	case strings.HasPrefix(base, metaPrefix):
		return nil // of AUFS; nobody unpacks it
	case strings.HasPrefix(base, whiteoutPrefix):
		rec.key, rec.body = keyOf(path.Join(dir, strings.TrimPrefix(base, whiteoutPrefix))), []byte{kindWhiteout}
		return r.s.add(ctx, rec)
	}
	f, err := describe(p, int(layer), h)
	if err != nil {
		r.note("entries of a type that no file has")
		return nil //nolint:nilerr // it is noted, and no path of the image
	}
	if h.Typeflag == tar.TypeLink {
		if len(r.links) >= r.Links {
			return fmt.Errorf("%w: more than %d hard links", ErrLimit, r.Links)
		}
		to := path.Clean("/" + h.Linkname)
		f.Hard, f.HardB64 = text(to)
		r.links = append(r.links, hardLink{rec, f, keyOf(to)})
		return nil
	}
	if f.Type == typeFile {
		if h.Size > r.Bytes { // holes are no bytes of the tar, and cost as much
			return fmt.Errorf("%w: a file of %d bytes", ErrLimit, h.Size)
		}
		sum := sha256.New()
		got, err := io.Copy(sum, &budget{ctx: ctx, r: content, left: &r.Bytes})
		if err != nil {
			return err
		}
		var d evidence.Digest
		sum.Sum(d[:0])
		f.Size, f.SHA256 = got, &d
	}
	return r.file(ctx, rec, f)
}

func (r *reading) file(ctx context.Context, rec record, f File) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	kind := byte(kindFile)
	if f.Type == typeDir {
		kind = kindDir
	}
	rec.body = append([]byte{kind}, b...)
	return r.s.add(ctx, rec)
}

func leadsUp(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}

var tarTypes = map[byte]string{
	tar.TypeReg: typeFile, 0: typeFile, tar.TypeGNUSparse: typeFile, tar.TypeCont: typeFile, tar.TypeLink: typeFile,
	tar.TypeDir: typeDir, tar.TypeSymlink: typeSymlink, tar.TypeChar: typeChar, tar.TypeBlock: typeBlock, tar.TypeFifo: typeFIFO,
}

func describe(p string, layer int, h *tar.Header) (File, error) {
	f := File{
		Type: tarTypes[h.Typeflag], Mode: "0" + strconv.FormatInt(h.Mode&0o7777, 8), UID: uint32(h.Uid), GID: uint32(h.Gid), Layer: layer,
		Caps: base64.StdEncoding.EncodeToString([]byte(h.PAXRecords["SCHILY.xattr.security.capability"])),
	}
	f.Path, f.PathB64 = text(p)
	if t := h.ModTime.UTC(); t.Year() >= 0 && t.Year() <= 9999 { // else JSON has no word for it
		f.MTime = &t
	}
	switch f.Type {
	case "":
		return f, fmt.Errorf("type %q", h.Typeflag)
	case typeSymlink:
		link, b64 := text(h.Linkname)
		f.Link, f.LinkB64 = &link, b64
	case typeChar, typeBlock:
		f.RDev = fmt.Sprintf("%d:%d", uint32(h.Devmajor), uint32(h.Devminor))
	}
	return f, nil
}

// budget ends a reader when its context does, or what may be read is read.
type budget struct {
	ctx  context.Context
	r    io.Reader
	left *int64
}

func (b *budget) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if *b.left -= int64(n); *b.left < 0 {
		return 0, fmt.Errorf("%w: its bytes", ErrLimit)
	}
	return n, err
}
