package bag

import (
	"math/rand/v2"
	"os"
)

// fill writes n bytes that no file system can store in less.
func fill(f *os.File, n int64) error {
	noise := rand.NewChaCha8([32]byte{})
	block := make([]byte, 1<<20)
	for n > 0 {
		b := block[:min(n, int64(len(block)))]
		if _, err := noise.Read(b); err != nil {
			return err
		}
		if _, err := f.Write(b); err != nil {
			return err
		}
		n -= int64(len(b))
	}
	return f.Sync()
}
