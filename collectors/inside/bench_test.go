//go:build linux

package inside

import (
	"io"
	"os"
	"testing"

	"irkit.dev/irkit/agent"
)

// BenchmarkFilesystem reads the Go distribution, or IRKIT_BENCH_TREE.
func BenchmarkFilesystem(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root: chroot")
	}
	tree := os.Getenv("IRKIT_BENCH_TREE")
	if tree == "" {
		tree = "/usr/local/go"
	}
	pid := startRoot(b, tree)
	for b.Loop() {
		var n int64
		err := New(Options{TargetPID: pid}).Collect(b.Context(), agent.Request{Kind: "filesystem"}, func(h agent.Header, r io.Reader) error {
			k, err := io.Copy(io.Discard, r)
			n += k
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}

// BenchmarkOpening reads the tables of this machine, as the cut waits for it.
func BenchmarkOpening(b *testing.B) {
	for b.Loop() {
		n, err := New(Options{TargetPID: os.Getpid()}).Snapshot(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n), "processes")
	}
}
