//go:build unix

package bag_test

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

func (v victim) fifo(name string) {
	v.Helper()
	if err := unix.Mkfifo(filepath.Join(v.dir, name), 0o600); err != nil {
		v.Skipf("no named pipe here: %v", err)
	}
}
