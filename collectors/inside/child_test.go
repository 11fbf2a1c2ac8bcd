//go:build linux

package inside

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

const asChild = "IRKIT_TEST_CHILD"

// TestMain lets the test binary be its own suspect: started again with a task, it does
// it, says ready, and waits until its standard input ends.
func TestMain(m *testing.M) {
	if task := os.Getenv(asChild); task != "" {
		if err := child(task); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var held []any

func child(task string) error {
	task, arg, _ := strings.Cut(task, " ")
	switch task {
	case "wait":
		return nil
	case "reserve": // address space, and no memory
		_, _, errno := unix.Syscall6(unix.SYS_MMAP, 0, 40<<40, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE, ^uintptr(0), 0)
		if errno != 0 {
			return errno
		}
		return nil
	case "crowd": // so many processes of another program
		n, err := strconv.Atoi(arg)
		for range n {
			if err == nil {
				_, err = syscall.ForkExec("/bin/sleep", []string{"sleep", "1000"}, &syscall.ProcAttr{Env: []string{"A=1", "B=2"}})
			}
		}
		return err
	case "play", "sockets", "forks":
		return traceTask(task, arg)
	case "p1":
		return asP1(arg)
	case "unlink":
		return os.Remove(arg)
	case "overlay": // runs itself again from an overlay
		dir, next, _ := strings.Cut(arg, " ")
		options := fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", dir)
		if err := unix.Mount("overlay", dir+"/merged", "overlay", 0, options); err != nil {
			return fmt.Errorf("mount overlay: %w", err)
		}
		return unix.Exec(dir+"/merged/app", []string{dir + "/merged/app"}, []string{asChild + "=" + next})
	case "root":
		return enterRoot(strings.Split(arg, "|"))
	case "loot": // a deleted open file, and a memory file with content
		f, err := os.Create(arg)
		if err != nil {
			return err
		}
		if _, err := f.WriteString("LOOT-CONTROL-card-numbers\n"); err != nil {
			return err
		}
		fd, err := unix.MemfdCreate("stash", 0)
		if err != nil {
			return err
		}
		m := os.NewFile(uintptr(fd), "stash")
		if _, err := m.WriteString("STASH-CONTROL-in-memory\n"); err != nil {
			return err
		}
		held = append(held, f, m)
		return errors.Join(os.Remove(arg), mapLost(arg+".so"), injected())
	}
	return fmt.Errorf("no task %q", task)
}

// library is what a lost file that is only mapped holds, page by page.
func library() []byte {
	b := make([]byte, 3*os.Getpagesize())
	for i := range b {
		b[i] = byte(i/os.Getpagesize()+1) ^ byte(i*31)
	}
	return b
}

// mapLost maps a file to be run, closes it and takes its name away.
func mapLost(path string) error {
	if err := os.WriteFile(path, library(), 0o700); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, len(library()), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	held = append(held, b)
	return errors.Join(err, f.Close(), os.Remove(path))
}

// shellcode is what stands in the first page of an anonymous executable region, and a
// word in its third; the second page was never touched.
const shellcode = "\x90\x90\x31\xc0SHELLCODE-CONTROL"

func region() []byte {
	page := os.Getpagesize()
	b := make([]byte, 5*page)
	copy(b, shellcode)
	copy(b[2*page:], "THIRD-PAGE")
	return b
}

func injected() error {
	page := os.Getpagesize()
	b, err := unix.Mmap(-1, 0, len(region()), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	copy(b, shellcode)
	copy(b[2*page:], "THIRD-PAGE")
	held = append(held, b)
	return nil
}

// enterRoot mounts what was asked for, and makes the first word the root.
func enterRoot(words []string) error {
	root := words[0]
	for _, m := range words[1:] {
		f := strings.Fields(m)
		point := root + f[2]
		if err := os.MkdirAll(point, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(f[0], point, f[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m, err)
		}
		switch f[1] {
		case "secret": // as the kubelet's atomic writer lays it out
			folder := point + "/..2026_11_22_21_00_00.123"
			if err := os.Mkdir(folder, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(folder+"/token", []byte(planted), 0o644); err != nil {
				return err
			}
			if err := errors.Join(os.Symlink("..2026_11_22_21_00_00.123", point+"/..data"), os.Symlink("..data/token", point+"/token")); err != nil {
				return err
			}
			f, err := os.Open(folder + "/token")
			if err != nil {
				return err
			}
			held = append(held, f)
			if err := os.Remove(folder + "/token"); err != nil { // rotated, and still open
				return err
			}
			if err := os.WriteFile(folder+"/token", []byte(planted), 0o644); err != nil {
				return err
			}
			if err := unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
				return fmt.Errorf("remount %s: %w", point, err)
			}
		case "volume":
			if err := os.WriteFile(point+"/data", []byte("VOLUME-CONTROL"), 0o644); err != nil {
				return err
			}
		}
	}
	if err := unix.Chroot(root); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// planted is what must not come out; control is what must.
const (
	planted = "PLANTED-secret-3f9c-value"
	control = "CONTROL-7d21-value"
)

// start runs a program that says ready, and ends it with the test.
func start(t testing.TB, cmd *exec.Cmd) int {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("child said %q: %v", line, err)
	}
	return cmd.Process.Pid
}

// alone puts a suspect into a PID namespace of its own, as a container is: nothing else
// on this machine is near it. Without root it stays where it is.
func alone(cmd *exec.Cmd) *exec.Cmd {
	if os.Getuid() != 0 {
		return cmd
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWPID
	return cmd
}

// suspect is this test binary again, with a task.
func suspect(task string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{asChild + "=" + task}
	return cmd
}

// inRoot starts a suspect whose root is a directory, in a mount namespace of its own,
// as a container's is. Each mount is "fs options point": tmpfs on a point below the root,
// filled before it turns read-only.
func inRoot(t *testing.T, root string, mounts ...string) int {
	t.Helper()
	needRoot(t)
	return startRoot(t, root, mounts...)
}

func startRoot(t testing.TB, root string, mounts ...string) int {
	t.Helper()
	cmd := suspect("root " + strings.Join(append([]string{root}, mounts...), "|"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return start(t, alone(cmd))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: chroot, mounts and device nodes")
	}
}

// got is one artifact as it arrived.
type got struct {
	agent.Header
	bytes   []byte
	err     error
	trailer evidence.Trailer
}

func collect(t *testing.T, r *Reader, q agent.Request) []got {
	t.Helper()
	all, err := collectContext(t.Context(), r, q)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func collectContext(ctx context.Context, r *Reader, q agent.Request) ([]got, error) {
	var all []got
	err := r.Collect(ctx, q, func(h agent.Header, body io.Reader) error {
		g := got{Header: h}
		if (body == nil) != (h.Absent != nil) {
			return errors.New("a reader and an absence, or neither")
		}
		if body != nil {
			g.bytes, g.err = io.ReadAll(body)
			g.trailer = body.(interface{ Trailer() evidence.Trailer }).Trailer()
		}
		all = append(all, g)
		return nil
	})
	return all, err
}

// one is the only artifact of a kind, whole.
func one(t *testing.T, all []got, kind string) got {
	t.Helper()
	var found []got
	for _, g := range all {
		if g.Kind == kind {
			found = append(found, g)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d artifacts of kind %s, want 1", len(found), kind)
	}
	if found[0].err != nil {
		t.Fatalf("%s: %v", kind, found[0].err)
	}
	if found[0].Absent != nil {
		t.Fatalf("%s: absent: %+v", kind, *found[0].Absent)
	}
	return found[0]
}

// asP1 runs a test with the capabilities that a debug container of profile P1 has, and
// no others.
func asP1(test string) error {
	runtime.LockOSThread()
	for c := range uintptr(unix.CAP_LAST_CAP + 1) {
		if c != unix.CAP_SYS_PTRACE && c != unix.CAP_DAC_READ_SEARCH {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				return fmt.Errorf("drop capability %d: %w", c, err)
			}
		}
	}
	return unix.Exec("/proc/self/exe", []string{"p1", "-test.run=^" + test + "$", "-test.v"}, []string{"IRKIT_TEST_TARGET=" + os.Getenv("IRKIT_TEST_TARGET")})
}

func asNobody() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}
