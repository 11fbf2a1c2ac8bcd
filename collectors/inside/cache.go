//go:build linux

package inside

import "golang.org/x/sys/unix"

// cached tells whether the kernel has the start of a file in memory already. What
// the target has there is left there; only what our own reading brought in goes out
// again, so that it does not count against the pod's memory.
func cached(fd int) bool {
	var b [1]byte
	_, err := unix.Preadv2(fd, [][]byte{b[:]}, 0, unix.RWF_NOWAIT)
	return err != unix.EAGAIN
}

// release gives back the memory that reading a file brought in.
func release(fd int, before bool) {
	if !before {
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) // advice only
	}
}
