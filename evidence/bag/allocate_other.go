//go:build !linux

package bag

import "os"

// allocate gives f blocks for n bytes, so that freeing them frees room.
func allocate(f *os.File, n int64) error { return fill(f, n) }
