//go:build linux

package inside

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// scene is where traces are planted. Every name in it comes from the seed: the code that
// looks for traces cannot know one of them.
type scene struct {
	t     *testing.T
	root  string
	rng   *rand.Rand
	roles []role
}

// word is a new name.
func (s *scene) word() string {
	b := make([]byte, 6+s.rng.IntN(6))
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyz"[s.rng.IntN(26)]
	}
	return string(b)
}

// file writes a file of the tree with content that only it has.
func (s *scene) file(p string) (content string) {
	s.t.Helper()
	content = "content of " + s.word() + s.word() + "\n"
	write(s.t, s.root+p, content)
	return content
}

// haul is all that was collected from a scene.
type haul struct {
	processes []Process // of the second reading
	sockets   []Socket
	open      []OpenFile
	mounts    []Mount
	names     map[string]Name // of the file system
	places    map[string]Name // of the places where intruders come back
	bytes     map[string]evidence.Digest
	lost      map[evidence.Digest]string // of what was recovered
	variables []Environment
	raw       []string // files with all artifacts
}

// kept tells a file whose bytes came, and came as they are.
func (h *haul) kept(p, content string) string {
	want := evidence.Digest(sha256.Sum256([]byte(content)))
	switch n, ok := h.names[p]; {
	case !ok:
		return "is in no index"
	case n.Content != stored || n.SHA256 == nil || *n.SHA256 != want:
		return fmt.Sprintf("index: %+v", n)
	case h.bytes[p] != want:
		return "the tar has other bytes"
	}
	return ""
}

// process is the one that a property tells from all others.
func (h *haul) process(what func(Process) bool) string {
	if !slices.ContainsFunc(h.processes, what) {
		return "no such process"
	}
	return ""
}

func (h *haul) socket(what func(Socket) bool) string {
	if !slices.ContainsFunc(h.sockets, what) {
		return "no such socket"
	}
	return ""
}

func when(ok bool, otherwise string, a ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(otherwise, a...)
}

// TestPlantedTraces plants traces by a seed (IRKIT_TEST_SEED) and demands each of them from
// what is collected: nothing hangs, nothing leads out of the target, and what the collector
// holds in memory stays small.
func TestPlantedTraces(t *testing.T) {
	needRoot(t)
	seed, err := strconv.ParseUint(os.Getenv("IRKIT_TEST_SEED"), 10, 64)
	if err != nil {
		seed = 20261122
	}
	t.Logf("IRKIT_TEST_SEED=%d", seed)
	s := &scene{t: t, root: t.TempDir(), rng: rand.New(rand.NewPCG(seed, seed))}
	outside := filepath.Join(t.TempDir(), s.word())
	beyond := s.word() + s.word() + s.word()
	write(t, outside, beyond)
	traces := slices.Concat(fileTraces(s, outside), placeTraces(s), processTraces(s))
	mounted, over := "/"+s.word(), "/"+s.word()
	s.file(mounted + "/" + s.word())
	s.file(over + "/" + s.word())
	traces = append(traces, trace{"a directory that another was mounted over", func(h *haul) string {
		return when(slices.ContainsFunc(h.mounts, func(m Mount) bool { return m.point == over && strings.HasSuffix(m.root, mounted) }), "mounts: %+v", h.mounts)
	}})
	if len(traces) < 30 {
		t.Fatalf("%d traces, want 30", len(traces))
	}
	roles := filepath.Join(t.TempDir(), "roles")
	b, err := json.Marshal(s.roles)
	must(t, err)
	must(t, os.WriteFile(roles, b, 0o600))
	first := suspect("play " + strings.Join([]string{roles, s.root, s.root + mounted, s.root + over}, "|"))
	first.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	pid := start(t, alone(first))

	growing := filepath.Join(s.root, s.word())
	stop := grow(t, growing)
	h := takeAll(t, pid)
	stop()
	if n, ok := h.names["/"+filepath.Base(growing)]; !ok || n.Content != stored {
		t.Errorf("a file that grew while it was read: %+v", n)
	}
	for _, tr := range traces {
		if fault := tr.found(h); fault != "" {
			t.Errorf("%s: %s", tr.what, fault)
		}
	}
	for _, p := range h.raw {
		if b, err := os.ReadFile(p); err != nil || bytes.Contains(b, []byte(beyond)) {
			t.Errorf("%s: a link led out of the target, or %v", p, err)
		}
	}
	t.Logf("%d traces", len(traces)+1)
}

// trace is one planted thing, and how to tell that it was found; found says what is wrong.
type trace struct {
	what  string
	found func(*haul) string
}

// grow lets a file grow until it is told to stop.
func grow(t *testing.T, path string) (stop func()) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer f.Close()
		for n := 0; ; n++ {
			select {
			case <-end:
				return
			default:
			}
			if n < 4096 { // 16 MiB at most
				_, _ = f.Write(bytes.Repeat([]byte{byte(n)}, 4096))
			}
			time.Sleep(50 * time.Microsecond)
		}
	}()
	return func() { close(end); <-done }
}

// takeAll collects every kind to disk, watching the memory that this takes, and reads it back.
func takeAll(t *testing.T, pid int) *haul {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), 5*time.Minute)
	defer done()
	r := New(Options{TargetPID: pid})
	_, err := r.Snapshot(ctx)
	must(t, err)
	dir := t.TempDir()
	h := &haul{names: map[string]Name{}, places: map[string]Name{}, bytes: map[string]evidence.Digest{}, lost: map[evidence.Digest]string{}}
	kinds := map[string][]string{}
	var most uint64
	runtime.GC()
	for _, kind := range slices.Concat(Kinds(), OptIn()) {
		err := r.Collect(ctx, agent.Request{Kind: kind, HMACKey: []byte("k"), Window: 100 * time.Millisecond}, func(head agent.Header, body io.Reader) error {
			if body == nil {
				return nil
			}
			p := filepath.Join(dir, fmt.Sprintf("%d-%s", len(h.raw), head.Kind))
			f, err := os.Create(p)
			if err != nil {
				return err
			}
			sum := sha256.New()
			_, err = io.Copy(io.MultiWriter(f, sum, &watching{&most, 0}), body)
			if err != nil {
				return fmt.Errorf("%s: %w", head.Kind, err)
			}
			h.raw = append(h.raw, p)
			kinds[head.Kind] = append(kinds[head.Kind], p)
			if head.Kind == "recovered" {
				h.lost[evidence.Digest(sum.Sum(nil))] = string(head.OrigName)
			}
			return f.Close()
		})
		if err != nil {
			t.Fatalf("collect %s: %v", kind, err)
		}
	}
	if most > 64<<20 {
		t.Errorf("%d MiB in use while collecting", most>>20)
	}
	t.Logf("%d MiB in use at most", most>>20)
	read := func(kind string) []byte {
		var all []byte
		for _, p := range kinds[kind] {
			b, err := os.ReadFile(p)
			must(t, err)
			all = append(all, b...)
		}
		return all
	}
	for _, p := range lines[Process](t, read("processes")) {
		if p.Opened == now {
			h.processes = append(h.processes, p)
		}
	}
	h.sockets, h.open = lines[Socket](t, read("connections")), lines[OpenFile](t, read("open-files"))
	h.variables = lines[Environment](t, read("environment"))
	for _, m := range lines[Mount](t, read("mounts")) {
		m.point, m.root = m.Point, m.Root
		h.mounts = append(h.mounts, m)
	}
	h.names, h.places = index(t, read("filesystem-index")), index(t, read("persistence-index"))
	for _, kind := range []string{"filesystem", "persistence"} {
		for _, p := range kinds[kind] {
			h.untar(t, p)
		}
	}
	return h
}

// watching is a writer that looks at the memory in use every few megabytes.
type watching struct {
	most *uint64
	n    int
}

func (w *watching) Write(p []byte) (int, error) {
	if w.n += len(p); w.n > 4<<20 {
		w.n = 0
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		*w.most = max(*w.most, m.HeapInuse+m.StackInuse)
	}
	return len(p), nil
}

// untar digests what a tar gives back; a file of a terabyte is not read.
func (h *haul) untar(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	r := tar.NewReader(f)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		if e.Typeflag != tar.TypeReg || e.Size > 64<<20 {
			continue
		}
		sum := sha256.New()
		_, err = io.Copy(sum, r)
		must(t, err)
		h.bytes["/"+strings.TrimPrefix(e.Name, "./")] = evidence.Digest(sum.Sum(nil))
	}
}

// xattr is what an index has of an extended attribute.
func xattr(n Name, name string) string {
	b, err := base64.StdEncoding.DecodeString(n.Xattrs[name])
	if err != nil {
		return err.Error()
	}
	return string(b)
}
