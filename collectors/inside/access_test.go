//go:build linux

package inside

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

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
	loot, mapped := false, false
	for _, g := range collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: "recovered"}) {
		loot = loot || bytes.Contains(g.bytes, []byte("LOOT-CONTROL"))
		mapped = mapped || g.err == nil && bytes.Equal(g.bytes, library())
	}
	if !mapped {
		t.Error("the library that is only mapped any more was not recovered")
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
	if _, err := collectContext(t.Context(), New(Options{TargetPID: os.Getpid()}), agent.Request{Kind: "dreams"}); err == nil {
		t.Error("an unknown kind was collected")
	}
}
