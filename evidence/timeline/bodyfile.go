package timeline

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/payload"
)

// Bodyfile writes timeline/bodyfile.txt: a line for each name of each file system index of the
// bag, as The Sleuth Kit's mactime 3 takes it:
//
//	MD5|name|inode|mode_as_string|UID|GID|size|atime|mtime|ctime|crtime
//
// Times are whole seconds since 1970, -1 where there is none; MD5 is always 0, digests are
// in the index. A name stands behind its container's ordinal and a colon. What would break a
// line is escaped, so that each name is one line and can be had back: | and % as %7C and %25,
// which mactime decodes; backslash, control characters, bytes that are no UTF-8, and
// characters that turn or hide text as \xNN. Memory is bounded whatever the bag holds. A
// container whose whole file system was not indexed gets that of its known places; an index
// that cannot be read leaves a comment. An error is w's, or of the list of entries.
func Bodyfile(bag fs.FS, w io.Writer) error {
	indexes, err := fileIndexes(bag)
	if err := ignoreAbsent(err); err != nil {
		return fmt.Errorf("write body of file times: %w", err)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	fmt.Fprintln(out, "# mactime 3 body; names begin with the container's ordinal")
	for _, e := range indexes {
		prefix := escapeBody(e.Ordinal) + ":"
		bad, _, err := payload.Entry(bag, e, 0, func(n indexed) { _, _ = out.WriteString("0|" + prefix + n.line() + "\n") })
		if bad > 0 {
			fmt.Fprintf(out, "# entry %s: %d lines of the index cannot be read\n", escapeBody(e.ID), bad)
		}
		if err != nil {
			fmt.Fprintf(out, "# entry %s is not whole here: %s\n", escapeBody(e.ID), escapeBody(err.Error()))
		}
	}
	return out.Flush()
}

// fileIndexes are the entries that hold names: those of whole file systems, and of known
// places where there is no such.
func fileIndexes(bag fs.FS) ([]evidence.Entry, error) {
	var whole, places []evidence.Entry
	has := map[string]bool{}
	_, _, err := payload.File(bag, evidence.EntriesJSONL, 0, func(e evidence.Entry) {
		switch {
		case len(e.Parts) == 0:
		case e.Kind == "filesystem-index":
			whole, has[e.Ordinal] = append(whole, e), true
		case e.Kind == "persistence-index":
			places = append(places, e)
		}
	})
	for _, e := range places {
		if !has[e.Ordinal] {
			whole = append(whole, e)
		}
	}
	return whole, err
}

// indexed is what is read of a line of an index.
type indexed struct {
	Path    string     `json:"path"`
	PathB64 string     `json:"path_b64"`
	Type    string     `json:"type"`
	Mode    string     `json:"mode"`
	UID     uint32     `json:"uid"`
	GID     uint32     `json:"gid"`
	Size    int64      `json:"size"`
	Inode   uint64     `json:"inode"`
	ATime   *time.Time `json:"atime"`
	MTime   *time.Time `json:"mtime"`
	CTime   *time.Time `json:"ctime"`
	BTime   *time.Time `json:"btime"`
	Link    *string    `json:"link"`
	LinkB64 string     `json:"link_b64"`
}

// line is the line without its prefix; the MD5 stands before the name.
func (n indexed) line() string {
	name := escapeBody(exact(n.Path, n.PathB64))
	if n.Link != nil {
		name += " -> " + escapeBody(exact(*n.Link, n.LinkB64))
	}
	return fmt.Sprintf("%s|%d|%s|%d|%d|%d|%s|%s|%s|%s", name, n.Inode, n.mode(), n.UID, n.GID, max(n.Size, 0),
		seconds(n.ATime), seconds(n.MTime), seconds(n.CTime), seconds(n.BTime))
}

// exact is the name as the target had it.
func exact(shown, b64 string) string {
	if b, err := base64.StdEncoding.DecodeString(b64); err == nil && b64 != "" {
		return string(b)
	}
	return shown
}

func seconds(t *time.Time) string {
	if t == nil || t.Unix() < 0 { // mactime has no time before 1970
		return "-1"
	}
	return strconv.FormatInt(t.Unix(), 10)
}

// bodyTypes are the letters of TSK's name types.
var bodyTypes = map[string]byte{"file": 'r', "dir": 'd', "symlink": 'l', "char": 'c', "block": 'b', "fifo": 'p', "socket": 's'}

// mode is TSK's: type of the name, of the inode, and permissions as ls has them.
func (n indexed) mode() string {
	kind, ok := bodyTypes[n.Type]
	if !ok {
		kind = '-'
	}
	bits, err := strconv.ParseUint(n.Mode, 8, 16)
	if err != nil {
		bits = 0
	}
	b := []byte{kind, '/', kind}
	for i := range 9 {
		c := byte('-')
		if bits&(0o400>>i) != 0 {
			c = "rwx"[i%3]
		}
		b = append(b, c)
	}
	special := func(at int, bit uint64, set, bare byte) {
		if bits&bit == 0 {
			return
		}
		if b[at] == 'x' {
			b[at] = set
		} else {
			b[at] = bare
		}
	}
	special(5, 0o4000, 's', 'S')
	special(8, 0o2000, 's', 'S')
	special(11, 0o1000, 't', 'T')
	return string(b)
}

// escapeBody keeps a hostile name in its field.
func escapeBody(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '|' || r == '%':
			fmt.Fprintf(&b, "%%%02X", s[0])
		case r == '\\' || !plain(r, n):
			for _, c := range []byte(s[:n]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// plain tells a character that shows as itself, of so many bytes.
func plain(r rune, n int) bool {
	return (r != utf8.RuneError || n > 1) && strconv.IsPrint(r)
}
