//go:build linux

package inside

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// TestInjectedCode: executable memory without a file is told of with its digest, and a
// library whose name is gone; pages that were never used are left so.
func TestInjectedCode(t *testing.T) {
	pid := start(t, alone(suspect("loot "+t.TempDir()+"/loot")))
	before := resident(t, pid)
	var p Process
	for _, l := range lines[Process](t, one(t, collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "processes"}), "processes").bytes) {
		if l.PID == pid {
			p = l
		}
	}
	if p.Maps == nil || p.Maps.WriteExec != 1 || p.Maps.Regions < 10 || p.Maps.Files < 3 || p.FDs == nil || *p.FDs < 5 {
		t.Fatalf("%+v, %+v", p, p.Maps)
	}
	want := evidence.Digest(sha256.Sum256(region()))
	if !slices.ContainsFunc(p.Maps.AnonExec, func(r Region) bool {
		return r.SHA256 != nil && *r.SHA256 == want && strings.HasPrefix(r.Head, hex.EncodeToString([]byte(shellcode[:8]))) && r.Perms == "rwxp" && r.Unread == 0
	}) {
		t.Errorf("no region with digest %s in %+v", want, p.Maps.AnonExec)
	}
	want = sha256.Sum256(library())
	if !slices.ContainsFunc(p.Maps.LostExec, func(r Region) bool {
		return r.SHA256 != nil && *r.SHA256 == want && strings.HasSuffix(r.Name, "loot.so (deleted)")
	}) {
		t.Errorf("no region with digest %s in %+v", want, p.Maps.LostExec)
	}
	if after := resident(t, pid); after != before {
		t.Errorf("reading the injected region made more of it resident: %s before, %s after", before, after)
	}
}

// resident is how many kilobytes of the process's writable and executable region are in memory.
func resident(t *testing.T, pid int) string {
	t.Helper()
	raw, _, err := proc{"/proc"}.read(8<<20, proc{"/proc"}.of(pid, "smaps"))
	must(t, err)
	_, rest, ok := bytes.Cut(raw, []byte(" rwxp "))
	if !ok {
		t.Fatal("no writable and executable region")
	}
	for line := range bytes.Lines(rest) {
		if v, ok := bytes.CutPrefix(line, []byte("Rss:")); ok {
			return strings.TrimSpace(string(v))
		}
	}
	return ""
}

// TestBracketsAreNoKernelThread: a name in brackets is one that a program gave itself.
func TestBracketsAreNoKernelThread(t *testing.T) {
	for comm, want := range map[string]bool{"[md0]": true, "md0": false, "nginx": false, "kworker/1:2": true, "[x": true} {
		p := Process{exe: "/usr/bin/x", Exe: "/usr/bin/x", comm: comm, Comm: comm, Cmdline: []string{comm}}
		if _, spoofed := p.doubts(nil); spoofed != want {
			t.Errorf("%q: spoofed %v, want %v", comm, spoofed, want)
		}
	}
}
