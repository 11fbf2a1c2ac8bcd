//go:build linux

package inside

import (
	"bytes"
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

// BenchmarkVolatile reads all that fades first of a target of 200 processes: the opening
// tables, then every artifact before the file system. The aim is less than a second.
func BenchmarkVolatile(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root: a PID namespace of its own")
	}
	pid := start(b, alone(suspect("crowd 200")))
	for b.Loop() {
		r := New(Options{TargetPID: pid})
		if _, err := r.Snapshot(b.Context()); err != nil {
			b.Fatal(err)
		}
		lines := 0
		for _, kind := range []string{"processes", "connections", "environment", "open-files", "mounts", "recovered"} {
			err := r.Collect(b.Context(), agent.Request{Kind: kind, HMACKey: []byte("k")}, func(h agent.Header, body io.Reader) error {
				if body == nil {
					return nil
				}
				all, err := io.ReadAll(body)
				if h.Kind == "environment" {
					lines += bytes.Count(all, []byte("\n"))
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		if lines < 200 {
			b.Fatalf("%d processes, want 200", lines)
		}
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
