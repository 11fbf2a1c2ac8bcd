//go:build linux

package inside

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
)

// procTree lays out a tree that looks like a procfs; a content that is nil is a file
// that never answers: a FIFO that somebody holds open and writes nothing to.
func procTree(t *testing.T, files map[string]*string) string {
	t.Helper()
	root := t.TempDir()
	for p, content := range files {
		at := root + "/" + p
		must(t, os.MkdirAll(at[:strings.LastIndex(at, "/")], 0o755))
		if content != nil {
			must(t, os.WriteFile(at, []byte(*content), 0o644))
			continue
		}
		must(t, unix.Mkfifo(at, 0o600))
		w, err := os.OpenFile(at, os.O_RDWR, 0)
		must(t, err)
		t.Cleanup(func() { w.Close() })
	}
	return root
}

const statOf = "%d (%s) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0 0"

// TestHeldBack: a process that holds its memory back costs its own lines, no others.
func TestHeldBack(t *testing.T) {
	files := map[string]*string{}
	put := func(p, s string) { files[p] = &s }
	put("stat", "btime 1000000000\n")
	for pid, comm := range map[int]string{1: "honest", 7: "stuck", 8: "stuck too"} {
		dir := fmt.Sprintf("%d/", pid)
		put(dir+"stat", fmt.Sprintf(statOf, pid, comm))
		put(dir+"status", "Uid:\t1\t1\t1\t1\n")
		put(dir+"cgroup", "0::/x\n")
		if pid == 1 {
			put(dir+"cmdline", "honest\x00")
			put(dir+"environ", "A=1\x00")
			put(dir+"maps", "")
		} else {
			files[dir+"cmdline"], files[dir+"environ"], files[dir+"maps"] = nil, nil, nil
		}
	}
	put("1/fd/x", "")
	put("7/fd/x", "")
	put("8/fd/x", "")
	r := New(Options{ProcRoot: procTree(t, files), TargetPID: 1, Self: 99, Budgets: Budgets{Wait: 250 * time.Millisecond}})
	if n, err := r.Snapshot(t.Context()); err != nil || n != 3 {
		t.Fatalf("%d processes, %v", n, err)
	}
	for _, p := range r.Opening().Processes {
		held := slices.ContainsFunc(p.Unread, func(s string) bool { return strings.Contains(s, errStuck.Error()) })
		if held != (p.PID != 1) || p.Comm == "" || !p.Start.Equal(time.Unix(1000000001, 0)) {
			t.Errorf("%+v", p)
		}
	}
	seen := map[int]Environment{}
	for _, e := range lines[Environment](t, one(t, collect(t, r, agent.Request{Kind: "environment"}), "environment").bytes) {
		seen[e.PID] = e
	}
	if len(seen) != 3 || len(seen[1].Variables) != 1 || seen[7].Unread == "" || seen[8].Unread == "" {
		t.Errorf("%+v", seen)
	}
	for _, kind := range []string{"processes", "open-files", "recovered"} {
		for _, g := range collect(t, r, agent.Request{Kind: kind}) {
			if g.err != nil {
				t.Errorf("%s: %v", kind, g.err)
			}
		}
	}
}

// TestPatience: calls that are given up are bounded in number.
func TestPatience(t *testing.T) {
	p := newPatience(time.Millisecond, 2)
	begun := make(chan struct{}, 8)
	forever := make(chan struct{})
	defer close(forever)
	for i := range 4 {
		if _, err := await(p, func() (int, error) { begun <- struct{}{}; <-forever; return 0, nil }); !errors.Is(err, errStuck) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	for i := 0; i < 2; i++ {
		<-begun
	}
	select {
	case <-begun:
		t.Error("more calls were begun than may get stuck")
	default:
	}
	if _, err := await(newPatience(time.Hour, 1), func() (int, error) { panic("hostile") }); err == nil || errors.Is(err, errStuck) {
		t.Errorf("a panic became %v", err)
	}
	r := &timed{p: newPatience(time.Hour, 1), r: strings.NewReader("whole")}
	if b, err := io.ReadAll(r); err != nil || string(b) != "whole" {
		t.Errorf("%q, %v", b, err)
	}
}
