//go:build linux

package inside

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"irkit.dev/irkit/agent"
)

// TestMemory reads a tree of many small files with long names, and of one directory,
// in constant memory. IRKIT_SOAK_FILES says how many (T11: 1000000); else a few.
func TestMemory(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("IRKIT_SOAK_FILES"))
	if err != nil {
		n = 3000
	}
	root := t.TempDir()
	for i := range n {
		p := fmt.Sprintf("%s/%d", root, i/50_000)
		if i%50_000 == 0 {
			must(t, os.Mkdir(p, 0o755))
		}
		must(t, os.WriteFile(fmt.Sprintf("%s/%s-%07d", p, strings.Repeat("long", 10), i), []byte(strconv.Itoa(i)), 0o644))
	}
	pid := inRoot(t, root)
	r := New(Options{TargetPID: pid})
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(48 << 20)) // as the worker sets it
	runtime.GC()
	debug.FreeOSMemory()
	var before, peak runtime.MemStats
	runtime.ReadMemStats(&before)
	names, tars, next := 0, 0, int64(0)
	err = r.Collect(t.Context(), agent.Request{Kind: "filesystem"}, func(h agent.Header, body io.Reader) error {
		if h.Kind == "filesystem" {
			tars++
		}
		buf, read := make([]byte, 64<<10), int64(0)
		for {
			k, err := body.Read(buf)
			read += int64(k)
			if h.Kind == "filesystem-index" {
				names += strings.Count(string(buf[:k]), "\n")
			}
			if read >= next {
				next = read + 16<<20
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				peak.HeapInuse = max(peak.HeapInuse, now.HeapInuse+now.StackInuse)
			}
			if err == io.EOF {
				next = 0
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	must(t, err)
	if dirs := (n + 49_999) / 50_000; names != n+dirs+1 {
		t.Errorf("%d names, want %d", names, n+dirs+1)
	}
	t.Logf("%d names, %d tars, heap %d MiB at most, %d MiB before", names, tars, peak.HeapInuse>>20, before.HeapInuse>>20)
	if peak.HeapInuse > 56<<20 {
		t.Errorf("%d MiB in use", peak.HeapInuse>>20)
	}
}
