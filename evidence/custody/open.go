package custody

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"irkit.dev/irkit/evidence"
)

// Open opens the log of that name under a bundle's root, or makes it. A last line that
// is not whole, as a crash leaves it, is set aside in a file beside the log (same
// name, ending in .tail-<seq>-<digest>.bin) and a record of action recovered says so.
// A chain that does not hold is an error, and nothing is changed. One process at a time
// has it open; a sealed bundle's log fails with ErrSealed.
//
// The caller syncs nothing: after Open and after each Append, file and folder are on disk.
func Open(ctx context.Context, root *os.Root, name string, o Options) (*Log, error) {
	f, err := openFile(root, name)
	if err != nil {
		return nil, fmt.Errorf("open custody log %s: %w", name, err)
	}
	l := &Log{o: o.defaults(), shut: f.Close}
	file := &file{root: root, name: name, f: f, log: l}
	l.put = file.append
	if err := file.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open custody log %s: %w", name, err), f.Close())
	}
	return l, nil
}

func openFile(root *os.Root, name string) (*os.File, error) {
	if err := unsealed(root); err != nil {
		return nil, err
	}
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return nil, err
	}
	f, err := root.OpenFile(name, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(lock(f), syncDir(root, path.Dir(name)), syncDir(root, ".")); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// unsealed fails with ErrSealed where the bundle has its seal.
func unsealed(root *os.Root) error {
	switch _, err := root.Lstat(evidence.SealSignature); {
	case err == nil:
		return ErrSealed
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return fmt.Errorf("look for a seal: %w", err)
	}
}

func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
