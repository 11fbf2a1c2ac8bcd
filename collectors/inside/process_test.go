//go:build linux

package inside

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

func lines[T any](t *testing.T, b []byte) []T {
	t.Helper()
	var all []T
	for line := range bytes.Lines(b) {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

// copyOfUs puts this test binary somewhere else, so that it can be started and deleted.

func copyOfUs(t *testing.T, path string) evidence.Digest {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(path, b, 0o755))
	return sha256.Sum256(b)
}

// TestDisguises: T21. What really runs is told, whatever it calls itself.

func TestDisguises(t *testing.T) {
	dir := t.TempDir()
	sum := copyOfUs(t, dir+"/deleted")
	copyOfUs(t, dir+"/replaced")
	copyOfUs(t, dir+"/with) (space\n1 S")

	deleted := suspect("wait")
	deleted.Path, deleted.Args = dir+"/deleted", []string{"[kworker/0:1]"}
	gonePID := start(t, deleted)
	must(t, os.Remove(dir+"/deleted"))

	replaced := suspect("wait")
	replaced.Path = dir + "/replaced"
	replacedPID := start(t, replaced)
	must(t, os.Remove(dir+"/replaced"))
	write(t, dir+"/replaced", "harmless")

	odd := suspect("wait")
	odd.Path, odd.Args = dir+"/with) (space\n1 S", []string{"sh\xff", "-c", "a\nb"}
	oddPID := start(t, odd)

	fd, err := unix.MemfdCreate("kthreadd", 0)
	must(t, err)
	image := os.NewFile(uintptr(fd), "memfd")
	defer image.Close()
	b, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	_, err = image.Write(b)
	must(t, err)
	memory := suspect("wait")
	memory.Path, memory.Args = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), []string{"[kthreadd]"}
	memoryPID := start(t, memory)
	plainPID := start(t, suspect("wait"))

	r := New(Options{TargetPID: plainPID, Self: os.Getpid()})
	n, err := r.Snapshot(t.Context())
	must(t, err)
	if again, err := r.Snapshot(t.Context()); err != nil || again != n {
		t.Errorf("a further opening gave %d, %v, not the first one's %d", again, err, n)
	}
	found := map[string]map[int]Process{opening: {}, now: {}}
	for _, p := range lines[Process](t, one(t, collect(t, r, agent.Request{Kind: "processes"}), "processes").bytes) {
		found[p.Opened][p.PID] = p
	}
	for _, label := range []string{opening, now} {
		for _, pid := range []int{gonePID, replacedPID, oddPID, memoryPID, plainPID} {
			if p, ok := found[label][pid]; !ok || p.Start.IsZero() || p.PPID != os.Getpid() || len(p.UIDs) != 4 {
				t.Errorf("%s: process %d: %+v", label, pid, p)
			}
		}
		if !found[label][os.Getpid()].Self {
			t.Errorf("%s: our own process is not marked", label)
		}
	}
	p := found[now][gonePID]
	if !p.ExeDeleted || p.Replaced || !p.Spoofed || p.ExeSHA256 == nil || *p.ExeSHA256 != sum || len(p.Doubts) == 0 {
		t.Errorf("deleted, named like a kernel thread: %+v", p)
	}
	p = found[now][replacedPID]
	if want := evidence.Digest(sha256.Sum256([]byte("harmless"))); !p.Replaced || p.DiskSHA256 == nil || *p.DiskSHA256 != want || *p.ExeSHA256 != sum {
		t.Errorf("replaced: %+v", p)
	}
	p = found[now][memoryPID]
	if !p.Memfd || !p.Spoofed || p.ExeSHA256 == nil || *p.ExeSHA256 != sum || !strings.HasPrefix(p.Exe, "/memfd:kthreadd") {
		t.Errorf("memory file: %+v", p)
	}
	p = found[now][oddPID]
	if p.Comm != "with) (space\n1 " || p.CmdlineB64 == "" || len(p.Cmdline) != 3 || p.State == "" || !strings.HasSuffix(p.Exe, "with) (space\n1 S") {
		t.Errorf("odd name: %+v", p)
	}
	p = found[now][plainPID]
	if p.Spoofed || p.ExeDeleted || p.Memfd || p.Replaced {
		t.Errorf("a plain process is suspected: %+v", p)
	}
	if len(p.EnvNames) != 1 || p.EnvNames[0] != asChild {
		t.Errorf("names of the environment: %q", p.EnvNames)
	}
}

// TestEnvironmentKeepsValuesBack checks every artifact but the files themselves: a

// planted value is in none, its name and keyed digest are, and with Values it is.

// TestRecovered gives back a deleted binary, a memory file and a deleted open file.

func TestRecovered(t *testing.T) {
	dir := t.TempDir()
	sum := copyOfUs(t, dir+"/implant")
	cmd := suspect("loot " + dir + "/loot")
	cmd.Path = dir + "/implant"
	pid := start(t, alone(cmd))
	must(t, os.Remove(dir+"/implant"))

	all := collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "recovered"})
	if len(all) < 1 {
		t.Fatal("nothing at all")
	}
	want := map[string]bool{dir + "/implant (deleted)": false, dir + "/loot (deleted)": false, "/memfd:stash (deleted)": false}
	for _, g := range all[1:] {
		name := string(g.OrigName)
		if _, ok := want[name]; !ok {
			continue // of other processes that are near
		}
		if want[name] {
			t.Errorf("%q twice", name)
		}
		want[name] = true
		var ok bool
		switch {
		case strings.Contains(name, "implant"):
			ok = evidence.Digest(sha256.Sum256(g.bytes)) == sum
		case strings.Contains(name, "loot"):
			ok = string(g.bytes) == "LOOT-CONTROL-card-numbers\n"
		default:
			ok = string(g.bytes) == "STASH-CONTROL-in-memory\n"
		}
		if !ok || g.err != nil {
			t.Errorf("%q: %d bytes, %v", name, len(g.bytes), g.err)
		}
	}
	for name, found := range want {
		if !found {
			t.Errorf("%q was not recovered", name)
		}
	}
	limited := collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "recovered", MaxBytes: 10 << 10})
	for _, g := range limited {
		if string(g.OrigName) == dir+"/implant (deleted)" && (len(g.bytes) != 10<<10 || g.err == nil) {
			t.Errorf("limited: %d bytes, %v", len(g.bytes), g.err)
		}
	}
	files := lines[OpenFile](t, one(t, collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "open-files"}), "open-files").bytes)
	deleted := 0
	for _, f := range files {
		if f.PID == pid && f.Deleted && f.FD != nil {
			deleted++
		}
	}
	if deleted != 2 {
		t.Errorf("%d deleted descriptors, want 2", deleted)
	}
}

// TestConnections finds the owner of a socket, before and now.

func TestConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	must(t, err)
	defer f.Close()
	cmd := suspect("wait")
	cmd.ExtraFiles = []*os.File{f}
	pid := start(t, alone(cmd))
	r := New(Options{TargetPID: pid})
	_, err = r.Snapshot(t.Context())
	must(t, err)
	all := collect(t, r, agent.Request{Kind: "connections"})
	found := map[string]bool{}
	for _, s := range lines[Socket](t, one(t, all, "connections").bytes) {
		if s.Proto == "tcp" && s.State == "LISTEN" && s.Local.String() == l.Addr().String() {
			for _, o := range s.Owners {
				if o.PID == pid {
					found[s.Opened] = true
				}
			}
		}
	}
	if !found[opening] || !found[now] {
		t.Errorf("the listener with its owner: %v", found)
	}
	flows, err := r.Flows(t.Context())
	must(t, err)
	ok := false
	for _, f := range flows {
		ok = ok || (f.State == "LISTEN" && f.Local.String() == l.Addr().String() && f.PID != 0)
	}
	if !ok {
		t.Errorf("no such flow among %d", len(flows))
	}
	var n Network
	must(t, json.Unmarshal(one(t, all, "network").bytes, &n))
	if len(n.Interfaces) == 0 || n.Tables["route"] == "" {
		t.Errorf("network: %+v", n)
	}
}

// TestSecretVolumes: what the kubelet mounts as secrets stays out of every artifact,

// by whatever way a link or a descriptor leads there; a volume comes unless skipped.

// TestNothingMayBeRead: an artifact that cannot be had says so; none is empty.

// TestProfileP1 reads a target of another user with SYS_PTRACE and DAC_READ_SEARCH alone.
