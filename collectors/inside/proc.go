//go:build linux

package inside

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// proc is a procfs, or a tree that looks like one.
type proc struct{ root string }

func (p proc) path(parts ...string) string {
	return filepath.Join(append([]string{p.root}, parts...)...)
}

func (p proc) of(pid int, parts ...string) string {
	return p.path(append([]string{strconv.Itoa(pid)}, parts...)...)
}

// read gives at most max bytes of a file, and whether there was more.
func (p proc) read(max int, path string) (b []byte, more bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	var buf bytes.Buffer
	_, err = io.Copy(&buf, io.LimitReader(f, int64(max)+1))
	b = buf.Bytes()
	if len(b) > max {
		return b[:max], true, nil
	}
	return b, false, err
}

// pids are the processes, in order of their numbers.
func (p proc) pids() ([]int, error) {
	d, err := os.Open(p.root)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var pids []int
	for {
		names, err := d.Readdirnames(512)
		for _, n := range names {
			if pid, err := strconv.Atoi(n); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		if errors.Is(err, io.EOF) {
			slices.Sort(pids)
			return pids, nil
		}
		if err != nil {
			return pids, fmt.Errorf("list %s: %w", p.root, err)
		}
	}
}

// boot is when the kernel started, from the line btime of /proc/stat; seconds.
func (p proc) boot() time.Time {
	b, _, err := p.read(4<<20, p.path("stat"))
	if err != nil {
		return time.Time{}
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			if s, err := strconv.ParseInt(string(bytes.TrimSpace(rest)), 10, 64); err == nil {
				return time.Unix(s, 0).UTC()
			}
		}
	}
	return time.Time{}
}

// namespace is the inode of one of a process's namespaces; 0 when it may not be read.
func (p proc) namespace(pid int, kind string) uint64 {
	link, err := os.Readlink(p.of(pid, "ns", kind))
	if err != nil {
		return 0
	}
	return bracketed(link, kind+":")
}

// bracketed reads N out of "prefix[N]"; 0 when it is not of that form.
func bracketed(s, prefix string) uint64 {
	if len(s) < len(prefix)+3 || s[:len(prefix)] != prefix || s[len(prefix)] != '[' || s[len(s)-1] != ']' {
		return 0
	}
	n, err := strconv.ParseUint(s[len(prefix)+1:len(s)-1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// gone tells an answer that a process which ended gives.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// cause is the kernel's word of an error, without the path.
func cause(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}
