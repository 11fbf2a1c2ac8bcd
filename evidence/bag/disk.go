package bag

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"irkit.dev/irkit/evidence"
)

// isFull says whether err means that the disk or the quota has no more room.
func isFull(err error) bool {
	return errors.Is(err, ErrDiskFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
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

// mkdir makes a folder of the bundle, and those above it, that outlive a power cut.
func (w *Writer) mkdir(name string) error {
	if info, err := w.root.Lstat(name); err == nil && info.IsDir() {
		return nil
	}
	if parent := path.Dir(name); parent != "." {
		if err := w.mkdir(parent); err != nil {
			return err
		}
	}
	if err := w.root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(w.root, path.Dir(name))
}

func (w *Writer) reserveName() string { return w.id + ".reserve" }

// reserve keeps room for the seal in a file beside the bundle. Called again, it does nothing
// while the room is kept.
func (w *Writer) reserve() error {
	if w.o.Reserve < 0 || w.reserved {
		return nil
	}
	f, err := w.kase.OpenFile(w.reserveName(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("reserve %d bytes for the seal: %w", w.o.Reserve, err)
	}
	if err := errors.Join(allocate(f, w.o.Reserve), f.Close()); err != nil {
		err = errors.Join(err, w.kase.Remove(w.reserveName()))
		if isFull(err) {
			err = fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
		return fmt.Errorf("reserve %d bytes for the seal: %w", w.o.Reserve, err)
	}
	w.reserved = true
	return nil
}

// FreeReserve gives the reserved room to what must still be written: the last records,
// the report, the seal. Add calls it when the disk is full, Freeze always. It may be called
// twice.
func (w *Writer) FreeReserve() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.freeReserve()
}

func (w *Writer) freeReserve() error {
	w.reserved = false
	if err := w.kase.Remove(w.reserveName()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("free the room reserved for the seal: %w", err)
	}
	return nil
}

// diskFull notes that the disk is full and frees the reserve. It says whether writing once
// more makes sense: whoever was writing may end what it began.
func (w *Writer) diskFull() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full = true
	return w.freeReserve() == nil
}

// isDiskFull says whether what is left of the disk belongs to the seal. It looks again
// first: somebody may have made room.
func (w *Writer) isDiskFull() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full && w.o.Reserve > 0 && w.reserve() == nil {
		w.full = false
	}
	return w.full
}

// retryFull writes, and once more from where it stopped after the reserve was freed. The
// returned error still says that the disk was full.
func (w *Writer) retryFull(f *os.File, p []byte) (int, error) {
	n, err := f.Write(p)
	if err == nil || !isFull(err) || !w.diskFull() {
		return n, err
	}
	more, again := f.Write(p[n:])
	if again != nil {
		err = again
	}
	return n + more, err
}
