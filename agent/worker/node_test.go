//go:build linux

package worker

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
)

const (
	podUID   = "ffffffff-cd23-4b0c-824a-5f2b84e9dda2"
	otherUID = "ffffffff-cd23-4b0c-824a-5f2b84e9dda3"
)

var (
	containerID = strings.Repeat("0123456789abcdef", 4)
	sandboxID   = strings.Repeat("00000000deadbeef", 4)
)

// procs is a made-up /proc: process number to control group and start.
func procs(t *testing.T, all map[int][2]string) string {
	t.Helper()
	dir := t.TempDir()
	for pid, p := range all {
		at := filepath.Join(dir, strconv.Itoa(pid))
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		stat := fmt.Sprintf("%d (a) b) S 1%s %s 0 0\n", pid, strings.Repeat(" 0", 17), p[1])
		for name, text := range map[string]string{"cgroup": p[0], "stat": stat} {
			if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestFindOnNode(t *testing.T) {
	in := func(pod, container string) string { return "0::/kubepods/pod" + pod + "/" + container + "\n" }
	proc := procs(t, map[int][2]string{
		1:   {"0::/init.scope\n", "1"},
		10:  {in(podUID, sandboxID), "100"},
		30:  {in(podUID, containerID), "300"},
		20:  {in(podUID, containerID), "200"},
		25:  {in(podUID, containerID), "200"},
		2:   {in(otherUID, containerID), "5"},                                                     // the same ID in another pod
		3:   {in(otherUID, sandboxID) + "1:pids:/kubepods/pod" + podUID + "/" + containerID, "6"}, // says two things
		4:   {in(otherUID, sandboxID+"/pod"+podUID+"/"+containerID), "7"},                         // names its own group so
		5:   {"0::/x/" + containerID + "\n", "8"},
		999: {in(podUID, containerID), "garbage"},
	})
	got, err := FindOnNode(proc, podUID, containerID)
	if err != nil || got.PID != 20 || got.NetPID != 10 {
		t.Errorf("found %+v, %v; want process 20, network of 10", got, err)
	}
	if err := got.Still(); err != nil {
		t.Error(err)
	}
	again := procs(t, map[int][2]string{20: {in(podUID, containerID), "201"}})
	got.proc = again
	if err := got.Still(); !errors.Is(err, ErrNoTarget) {
		t.Errorf("its number was given anew: %v", err)
	}
	for _, bad := range [][2]string{
		{podUID, containerID[:63]}, {podUID, ""}, {"", containerID}, {"..", containerID}, {podUID, sandboxID[:63] + "0"}, {otherUID + "0", containerID},
		{podUID, "../" + containerID[3:]},
	} {
		if got, err := FindOnNode(proc, bad[0], bad[1]); !errors.Is(err, ErrNoTarget) {
			t.Errorf("%q: found %+v, %v", bad, got, err)
		}
	}
}

// group makes a control group of that path and puts processes in it, on any hierarchy
// that lets us.
func group(t *testing.T, path string, pids ...int) {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		at := filepath.Join(root, path)
		if err := os.MkdirAll(at, 0o755); err != nil {
			continue
		}
		for at := at; at != root; at = filepath.Dir(at) {
			t.Cleanup(func() { _ = unix.Rmdir(at) }) // fails while another test's are below
		}
		for _, pid := range pids {
			if err := os.WriteFile(filepath.Join(at, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600); err != nil {
				t.Skipf("no process may be put in a control group (root is needed): %v", err)
			}
		}
		return
	}
	t.Skip("no control group may be made (root is needed)")
}

// sleeper is a process that does nothing, in a network namespace of its own or in ours.
func sleeper(t *testing.T, own bool, argv ...string) *exec.Cmd {
	t.Helper()
	if argv == nil {
		argv = []string{"sleep", "600"}
	}
	c := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{}
	if own {
		c.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	if err := c.Start(); err != nil {
		t.Skipf("no network namespace may be made (root is needed): %v", err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c
}

func netOf(t *testing.T, pid int) uint64 {
	t.Helper()
	n, err := namespace("/proc/" + strconv.Itoa(pid))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// entered enters on a thread of its own and answers what Refuse says there.
func entered(t *testing.T, o OnNode) (at uint64, refused error) {
	t.Helper()
	done := make(chan error)
	var there func()
	there = func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == os.Getpid() {
			go there() // but the first thread never ends
			select {}
		}
		err := o.Enter()
		if err == nil {
			err = o.Here()
		}
		if err == nil {
			at, err = namespace("/proc/thread-self")
			refused = o.Refuse()
		}
		done <- err
	}
	go there()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return at, refused
}

// nodeProc is the real /proc, but that its first process is this one: the real one's
// namespaces may be closed to us.
func nodeProc(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	names, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		to := "/proc/" + n.Name()
		if n.Name() == "1" {
			to = "/proc/" + strconv.Itoa(os.Getpid())
		}
		if _, err := strconv.Atoi(n.Name()); err == nil {
			if err := os.Symlink(to, filepath.Join(dir, n.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// TestEntersThePodsNetwork: the sandbox's, not one that the container made for itself.
func TestEntersThePodsNetwork(t *testing.T) {
	pause := sleeper(t, true)
	time.Sleep(20 * time.Millisecond) // the kernel's ticks are 10 ms
	app := sleeper(t, true)
	top := "irkit-test-" + strconv.Itoa(os.Getpid()) + "/kubepods/pod" + podUID
	group(t, top+"/"+sandboxID, pause.Process.Pid)
	group(t, top+"/"+containerID, app.Process.Pid)
	o, err := FindOnNode(nodeProc(t), podUID, containerID)
	if err != nil || o.PID != app.Process.Pid || o.NetPID != pause.Process.Pid {
		t.Fatalf("found %+v, %v", o, err)
	}
	at, refused := entered(t, o)
	if at != netOf(t, pause.Process.Pid) || refused != nil {
		t.Errorf("in namespace %d, want that of the sandbox; refused: %v", at, refused)
	}
	if err := o.Refuse(); !errors.Is(err, agent.ErrNodeNetwork) {
		t.Errorf("outside of it: %v", err)
	}
	if err := o.Here(); err == nil {
		t.Error("this thread is said to be in the pod's network")
	}
	_ = pause.Process.Kill()
	_ = pause.Wait()
	if err := o.Enter(); err == nil {
		t.Error("entered the network of a process that has ended")
	}
	if o, err = FindOnNode(nodeProc(t), podUID, containerID); err != nil || o.NetPID != app.Process.Pid {
		t.Errorf("without a sandbox's process: %+v, %v", o, err)
	}
	_ = app.Process.Kill()
	_ = app.Wait()
	if err := o.Still(); !errors.Is(err, ErrNoTarget) {
		t.Errorf("it ended: %v", err)
	}
}

// TestRefusesTheNodesNetwork: the first process's, and, where the node is itself in a
// namespace, that of who started the container.
func TestRefusesTheNodesNetwork(t *testing.T) {
	for name, node := range map[string]bool{"of the first process": false, "of who started it": true} {
		shim := sleeper(t, node, "sh", "-c", "sleep 600 & wait")
		var pid int
		for range 500 {
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", shim.Process.Pid)); err == nil {
				pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
			}
			if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); pid != 0 && strings.Contains(exe, "sleep") {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if pid == 0 {
			t.Skip("the shell's child cannot be seen")
		}
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		group(t, "irkit-test-"+strconv.Itoa(os.Getpid())+"/kubepods/pod"+podUID+"/"+containerID, pid)
		o, err := FindOnNode(nodeProc(t), podUID, containerID)
		if err != nil || o.PID != pid {
			t.Fatalf("%s: found %+v, %v", name, o, err)
		}
		if at, refused := entered(t, o); at != netOf(t, shim.Process.Pid) || !errors.Is(refused, agent.ErrNodeNetwork) {
			t.Errorf("%s: in namespace %d: %v", name, at, refused)
		} else {
			t.Logf("%s: %v", name, refused)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_ = shim.Wait()
	}
}
