//go:build linux

package inside

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// extent is a stretch of a file that holds data.
type extent struct{ start, length int64 }

const (
	maxExtents = 8 << 10  // kept; readers of tar refuse a map of more than 1 MiB
	maxSeeks   = 1 << 20  // asked for
	minHole    = 16 << 10 // below that a hole is cheaper stored
)

// extents are the parts of a file that hold data, in order, aligned to 512 bytes as
// GNU tar wants it. Small holes count as data; the more extents there are, the bigger
// is what counts as small. Data that appears where a hole was seen is a change.
func extents(f *os.File, m meta) []extent {
	all := []extent{{0, m.size}}
	if m.size == 0 {
		return nil
	}
	if m.blocks*512 >= m.size || m.size < minHole {
		return all
	}
	fd, hole := int(f.Fd()), int64(minHole)
	var found []extent
	var at int64
	for n := 0; at < m.size; n++ {
		start, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO || (err == nil && start >= m.size) {
			break
		}
		if err != nil {
			return all // the file system does not tell
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil || end > m.size || end <= start || n == maxSeeks {
			end = m.size
		}
		at = end
		start &^= 511
		end = min((end+511)&^511, m.size)
		if k := len(found) - 1; k >= 0 && start-(found[k].start+found[k].length) < hole {
			found[k].length = end - found[k].start
		} else {
			found = append(found, extent{start, end - start})
		}
		for len(found) > maxExtents {
			hole *= 4
			found = merge(found, hole)
		}
	}
	return found
}

func merge(es []extent, hole int64) []extent {
	kept := es[:1]
	for _, e := range es[1:] {
		if last := &kept[len(kept)-1]; e.start-(last.start+last.length) < hole {
			last.length = e.start + e.length - last.start
		} else {
			kept = append(kept, e)
		}
	}
	return kept
}

// whole tells a file without holes.
func whole(parts []extent, size int64) bool {
	return size == 0 || (len(parts) == 1 && parts[0] == extent{0, size})
}

// padding fills a length up to the blocks of tar.
func padding(n int64) int64 { return (512 - n%512) % 512 }

// sparseHeader writes the headers and the map of a sparse file as GNU tar's format
// PAX 1.0 (its manual, appendix "Sparse Formats"), which archive/tar reads but does not
// write. The extents' bytes and padding(sum of lengths) zeros are to follow.
func sparseHeader(w io.Writer, h *tar.Header, size int64, parts []extent) error {
	var sparse strings.Builder
	entries, data := len(parts), int64(0)
	tail := entries == 0 || parts[entries-1].start+parts[entries-1].length != size
	if tail {
		entries++ // an empty extent at the end sets the size
	}
	fmt.Fprintf(&sparse, "%d\n", entries)
	for _, e := range parts {
		fmt.Fprintf(&sparse, "%d\n%d\n", e.start, e.length)
		data += e.length
	}
	if tail {
		fmt.Fprintf(&sparse, "%d\n0\n", size)
	}
	table := sparse.String() + strings.Repeat("\x00", int(padding(int64(sparse.Len()))))
	content := int64(len(table)) + data

	records := maps.Clone(h.PAXRecords)
	if records == nil {
		records = map[string]string{}
	}
	records["GNU.sparse.major"], records["GNU.sparse.minor"] = "1", "0"
	records["GNU.sparse.name"], records["GNU.sparse.realsize"] = h.Name, strconv.FormatInt(size, 10)
	records["size"] = strconv.FormatInt(content, 10)
	records["uid"], records["gid"] = strconv.Itoa(h.Uid), strconv.Itoa(h.Gid)
	records["mtime"] = paxTime(h.ModTime.Unix(), h.ModTime.Nanosecond())
	records["atime"] = paxTime(h.AccessTime.Unix(), h.AccessTime.Nanosecond())
	records["ctime"] = paxTime(h.ChangeTime.Unix(), h.ChangeTime.Nanosecond())
	var pax bytes.Buffer
	for _, k := range slices.Sorted(maps.Keys(records)) {
		pax.WriteString(paxRecord(k, records[k]))
	}
	mtime := h.ModTime.Unix()
	var b bytes.Buffer
	b.Write(ustar("PaxHeaders.0/sparse", 'x', 0o644, 0, 0, int64(pax.Len()), mtime))
	b.Write(pax.Bytes())
	b.Write(make([]byte, padding(int64(pax.Len()))))
	b.Write(ustar("GNUSparseFile.0/sparse", '0', h.Mode, int64(h.Uid), int64(h.Gid), content, mtime))
	b.WriteString(table)
	_, err := w.Write(b.Bytes())
	return err
}

// paxRecord is "length key=value\n", the length counting itself.
func paxRecord(k, v string) string {
	rest := " " + k + "=" + v + "\n"
	n := len(rest) + len(strconv.Itoa(len(rest)))
	if n2 := len(rest) + len(strconv.Itoa(n)); n2 != n {
		n = n2
	}
	return strconv.Itoa(n) + rest
}

func paxTime(sec int64, nsec int) string {
	if sec < 0 && nsec > 0 {
		sec, nsec = sec+1, 1_000_000_000-nsec
		if sec == 0 {
			return fmt.Sprintf("-0.%09d", nsec)
		}
	}
	return fmt.Sprintf("%d.%09d", sec, nsec)
}

// ustar is one header block; numbers that do not fit are left to the PAX records.
func ustar(name string, kind byte, mode, uid, gid, size, mtime int64) []byte {
	b := make([]byte, 512)
	octal := func(at, width int, v int64) {
		s := strconv.FormatInt(v, 8)
		if v < 0 || len(s) > width-1 {
			s = "0"
		}
		copy(b[at:], strings.Repeat("0", width-1-len(s))+s)
	}
	copy(b, name)
	octal(100, 8, mode)
	octal(108, 8, uid)
	octal(116, 8, gid)
	octal(124, 12, size)
	octal(136, 12, mtime)
	copy(b[148:], "        ")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	var sum int64
	for _, c := range b {
		sum += int64(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}
