package verify

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// tree is what a folder holds: plain files with their sizes, and folders.
type tree struct {
	root  *os.Root
	files map[string]int64
	dirs  map[string]bool
	names int // bytes of all paths
}

var errTooMuch = errors.New("more than this verifier reads")

// walk reads the whole tree. What is neither plain file nor folder becomes a finding and
// is left alone.
func walk(ctx context.Context, root *os.Root, f *findings) (*tree, error) {
	t := &tree{root: root, files: map[string]int64{}, dirs: map[string]bool{}}
	todo := []string{"."}
	for len(todo) > 0 {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if err := context.Cause(ctx); err != nil {
			return t, err
		}
		below, err := t.list(dir, f)
		if errors.Is(err, errTooMuch) {
			f.add("too-much", dir, "more than %d files, %d folders deep or %d bytes of paths: %v", maxFiles, maxDepth, maxNames, err)
			return t, nil
		}
		if err != nil {
			f.add("unreadable", dir, "%v", err)
		}
		todo = append(todo, below...)
	}
	return t, nil
}

func (t *tree) list(dir string, f *findings) (below []string, err error) {
	d, err := t.open(dir, true)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	for {
		names, err := d.ReadDir(1024)
		for _, e := range names {
			p := path.Join(dir, e.Name())
			t.names += len(p)
			if len(t.files)+len(t.dirs) >= maxFiles || t.names > maxNames || strings.Count(p, "/") >= maxDepth || len(p) > maxPath {
				return nil, errTooMuch
			}
			switch {
			case e.IsDir():
				t.dirs[p] = true
				below = append(below, p)
			case e.Type().IsRegular():
				info, err := e.Info()
				if err != nil {
					return below, err
				}
				t.files[p] = info.Size()
			default:
				f.add("special-file", p, "is a %s: only plain files and folders belong in a bundle", kindOf(e.Type()))
			}
		}
		if errors.Is(err, io.EOF) {
			return below, nil
		}
		if err != nil {
			return below, err
		}
	}
}

// open opens a name that was found before, and refuses one that became something else.
// O_NONBLOCK keeps a pipe from blocking.
func (t *tree) open(name string, dir bool) (*os.File, error) {
	before, err := t.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if dir && !before.IsDir() || !dir && !before.Mode().IsRegular() {
		return nil, errors.New("is no longer what it was")
	}
	file, err := t.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	after, err := file.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = errors.New("changed while it was opened")
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// read reads a file of the tree that is no longer than limit; absent is fs.ErrNotExist.
func (t *tree) read(name string, limit int64) ([]byte, error) {
	if _, ok := t.files[name]; !ok {
		return nil, fs.ErrNotExist
	}
	file, err := t.open(name, false)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errTooMuch
	}
	return b, err
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	case m&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}
