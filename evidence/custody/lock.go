//go:build unix

package custody

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// HeldError says that another process works on the case.
type HeldError struct {
	Dir string
	PID int // 0: it had not said yet
}

// Error names the folder and the process.
func (e *HeldError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("case folder %s is in use by another irkit", e.Dir)
	}
	return fmt.Sprintf("case folder %s is in use by another irkit, process %d", e.Dir, e.PID)
}

// Lock is a case folder held by this process.
type Lock struct{ f *os.File }

// LockCase makes the case folder (0700) where it is absent and takes it for this
// process. It does not wait: a folder that another process holds fails with a
// *HeldError. The kernel gives the lock back when the process ends, however it ends.
func LockCase(dir string) (*Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make case folder: %w", err)
	}
	// A folder made by hand may be open to others; evidence must not be.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("close case folder to others: %w", err)
	}
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock case folder: %w", err)
	}
	if err := lock(f); err != nil {
		held := &HeldError{Dir: dir}
		if b, rerr := io.ReadAll(io.LimitReader(f, 32)); rerr == nil {
			held.PID, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		}
		if !errors.Is(err, errHeld) {
			return nil, errors.Join(fmt.Errorf("lock case folder %s: %w", dir, err), f.Close())
		}
		return nil, errors.Join(held, f.Close())
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		return nil, errors.Join(fmt.Errorf("lock case folder %s: %w", dir, err), f.Close())
	}
	return &Lock{f}, nil
}

func writePID(f *os.File) error {
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// Unlock gives the case folder back; it may be called twice. The lock file stays, so
// that two processes can never hold two files of that name.
func (l *Lock) Unlock() error {
	if err := l.f.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("unlock case folder: %w", err)
	}
	return nil
}

var errHeld = errors.New("another process has it open")

// lock takes the file for this open of it (flock(2)), or fails at once with errHeld.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errHeld
	}
	return err
}
