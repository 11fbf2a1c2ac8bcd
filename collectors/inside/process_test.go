//go:build linux

package inside

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
func TestEnvironmentKeepsValuesBack(t *testing.T) {
	cmd := suspect("wait")
	cmd.Env = append(cmd.Env, "DB_PASSWORD="+planted, "A=b=c", "EMPTY=", "no-equals-"+planted, "LINE\nFEED=x", "BAD\xff=y")
	cmd.Args = []string{"suspect", control}
	pid := start(t, alone(cmd))
	key := []byte("case key")
	r := New(Options{TargetPID: pid})
	_, err := r.Snapshot(t.Context())
	must(t, err)
	seen := false
	for _, kind := range Kinds() {
		if kind == "filesystem" || kind == "persistence" || kind == "recovered" {
			continue // of this machine, where the test's own source lies
		}
		for _, g := range collect(t, r, agent.Request{Kind: kind, HMACKey: key}) {
			said := fmt.Sprintf("%+v %+v %v", g.Header, g.trailer, g.err)
			if bytes.Contains(g.bytes, []byte(planted)) || strings.Contains(said, planted) {
				t.Errorf("%s holds the planted value", g.Kind)
			}
			seen = seen || bytes.Contains(g.bytes, []byte(control))
		}
	}
	if !seen {
		t.Error("the control value is nowhere: this test could not have failed")
	}
	of := func(q agent.Request) Environment {
		q.Kind, q.HMACKey = "environment", key
		for _, e := range lines[Environment](t, one(t, collect(t, r, q), "environment").bytes) {
			if e.PID == pid {
				return e
			}
		}
		t.Fatalf("no environment of process %d", pid)
		return Environment{}
	}
	e := of(agent.Request{})
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(planted))
	want := []Variable{
		{Name: asChild, Length: 4}, {Name: "DB_PASSWORD", Length: int64(len(planted)), HMACSHA256: hex.EncodeToString(mac.Sum(nil))},
		{Name: "A", Length: 3}, {Name: "EMPTY"}, {NoName: true, Length: int64(len("no-equals-" + planted))},
		{Name: "LINE\nFEED", Length: 1}, {Name: "BAD\ufffd", NameB64: "QkFE/w==", Length: 1},
	}
	if len(e.Variables) != len(want) {
		t.Fatalf("%d variables, want %d: %+v", len(e.Variables), len(want), e.Variables)
	}
	for i, v := range e.Variables {
		w := want[i]
		if v.Name != w.Name || v.NameB64 != w.NameB64 || v.Length != w.Length || v.NoName != w.NoName || v.Value != "" || len(v.HMACSHA256) != 64 || (w.HMACSHA256 != "" && v.HMACSHA256 != w.HMACSHA256) {
			t.Errorf("variable %d: %+v, want %+v", i, v, w)
		}
	}
	if e := of(agent.Request{Values: true}); e.Variables[1].Value != planted {
		t.Errorf("with values: %+v", e.Variables[1])
	}
}

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
		ok := false
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
func TestSecretVolumes(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/etc/passwd", "app:x:1000:1000::/home/app:/bin/sh\n")
	write(t, root+"/home/app/.bash_history", control)
	must(t, os.Symlink("/creds/token", root+"/etc/resolv.conf"))
	must(t, os.Symlink("/creds", root+"/home/app/.ssh"))
	must(t, os.Symlink("/run", root+"/var-run"))
	write(t, root+"/tmp/..data", control) // what looks like a secret volume, but is the target's
	pid := inRoot(t, root, "tmpfs secret /creds", "tmpfs secret /run/secrets/kubernetes.io/serviceaccount", "tmpfs volume /data", "proc pseudo /proc")
	for name, c := range map[string]struct {
		skip   []string
		volume bool
	}{"named": {[]string{"/creds", "/var-run/secrets/kubernetes.io/serviceaccount", "/data"}, false}, "by shape": {nil, true}} {
		t.Run(name, func(t *testing.T) {
			var all []got
			for _, kind := range Kinds() {
				all = append(all, collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: kind, SkipMounts: c.skip, HMACKey: []byte("k")})...)
			}
			controls, volume, left, lost := 0, false, 0, false
			for _, g := range all {
				if bytes.Contains(g.bytes, []byte(planted)) {
					t.Errorf("%s holds the planted value", g.Kind)
				}
				controls += bytes.Count(g.bytes, []byte(control))
				volume = volume || bytes.Contains(g.bytes, []byte("VOLUME-CONTROL"))
				if g.Kind == "filesystem-index" {
					for p, n := range index(t, g.bytes) {
						if strings.HasSuffix(p, "/token") && n.Type == "file" {
							left++
							if n.Content != leftOut || n.HMACSHA256 == "" || n.SHA256 != nil || n.Size != int64(len(planted)) {
								t.Errorf("%s: %+v", p, n)
							}
						}
						if strings.HasPrefix(p, "/proc/") {
							t.Errorf("%s: went into a pseudo file system", p)
						}
					}
				}
				lost = lost || (g.Absent != nil && g.Absent.Status == evidence.LeftOut && strings.Contains(string(g.OrigName), "token"))
			}
			if controls < 3 || volume != c.volume || left != 2 {
				t.Errorf("%d controls, volume %v, %d secrets by name and digest", controls, volume, left)
			}
			if !lost {
				t.Error("the rotated secret that is still open has no entry that says it was left out")
			}
		})
	}
}

// TestNothingMayBeRead: an artifact that cannot be had says so; none is empty.
func TestNothingMayBeRead(t *testing.T) {
	pid := start(t, suspect("wait"))
	needRoot(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAsNobody$", "-test.v")
	cmd.Env = []string{fmt.Sprintf("IRKIT_TEST_TARGET=%d", pid)}
	cmd.SysProcAttr = asNobody()
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("PASS: TestAsNobody")) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestAsNobody(t *testing.T) {
	var pid int
	if _, err := fmt.Sscan(os.Getenv("IRKIT_TEST_TARGET"), &pid); err != nil {
		t.Skip("runs as another user, from TestNothingMayBeRead")
	}
	for _, kind := range []string{"environment", "open-files", "recovered", "persistence", "filesystem"} {
		all := collect(t, New(Options{TargetPID: pid, ContainerID: "x"}), agent.Request{Kind: kind})
		if len(all) != 1 || all[0].Absent == nil || all[0].Absent.Status != evidence.Impossible || all[0].Absent.Reason == "" {
			t.Errorf("%s: %+v", kind, all)
		}
	}
}

// TestProfileP1 reads a target of another user with SYS_PTRACE and DAC_READ_SEARCH alone.
func TestProfileP1(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	target := suspect("loot " + dir + "/loot")
	target.Env = append(target.Env, "DB_PASSWORD="+planted)
	target.SysProcAttr = asNobody()
	pid := start(t, alone(target))
	cmd := suspect("p1 TestAsP1")
	cmd.Env = append(cmd.Env, fmt.Sprintf("IRKIT_TEST_TARGET=%d", pid))
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("PASS: TestAsP1")) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestAsP1(t *testing.T) {
	var pid int
	if _, err := fmt.Sscan(os.Getenv("IRKIT_TEST_TARGET"), &pid); err != nil {
		t.Skip("runs with few capabilities, from TestProfileP1")
	}
	if s := lines[Process](t, one(t, collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "processes"}), "processes").bytes); !slices.ContainsFunc(s, func(p Process) bool {
		return p.PID == pid && p.ExeSHA256 != nil && slices.Contains(p.EnvNames, "DB_PASSWORD") && len(p.Unread) == 0
	}) {
		t.Error("the target is not among the processes, or not read whole")
	}
	loot := false
	for _, g := range collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "recovered"}) {
		loot = loot || bytes.Contains(g.bytes, []byte("LOOT-CONTROL"))
	}
	if !loot {
		t.Error("the deleted open file was not recovered")
	}
	for _, kind := range []string{"environment", "open-files", "mounts", "persistence"} {
		if g := collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: kind})[0]; g.Absent != nil || g.err != nil || len(g.bytes) == 0 {
			t.Errorf("%s: %+v %v", kind, g.Absent, g.err)
		}
	}
}

func TestNoSuchContainer(t *testing.T) {
	_, err := collectContext(t.Context(), New(Options{TargetPID: os.Getpid()}), agent.Request{Kind: "processes", ContainerID: strings.Repeat("0", 64)})
	if err == nil {
		t.Error("a container that is not here was collected")
	}
	if _, err := collectContext(t.Context(), New(Options{TargetPID: os.Getpid()}), agent.Request{Kind: "memory"}); err == nil {
		t.Error("an unknown kind was collected")
	}
}
