//go:build e2e && linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"irkit.dev/irkit/evidence"
)

// small disks: the 64 MiB that are reserved for the seal, and a few MiB.
func (p *person) onDisk(size string) {
	p.t.Helper()
	if os.Geteuid() != 0 {
		p.t.Skip("needs root: it mounts a tmpfs")
	}
	dir := filepath.Join(p.home, "irkit")
	if err := os.Mkdir(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := syscall.Mount("irkit-e2e", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=0700,size="+size); err != nil {
		p.t.Fatalf("mount a tmpfs of %s: %v", size, err)
	}
	p.t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			p.t.Errorf("unmount %s: %v", dir, err)
		}
	})
}

// TestFullDisk: the responder's disk ends in the middle of the file system. What came is
// sealed and says so; with room again, running again brings the rest.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	const mebibytes = 24
	pod := bulk(t, c, fmt.Sprint(mebibytes))
	p := newPerson(t)
	p.onDisk("72m")
	r := p.collect(pod, "--case", "full").want(t, 3).says(t, "disk").result(t)
	e := find(t, entries(t, r.Bundle), "filesystem", "c0")
	if e.Status != evidence.Truncated || !strings.Contains(e.Reason, "space") && !strings.Contains(e.Reason, "full") || e.Size >= mebibytes<<20 {
		t.Errorf("filesystem: %s, %d bytes, %q", e.Status, e.Size, e.Reason)
	}
	if e.Size == 0 {
		t.Error("nothing of the file system was kept")
	}
	if r.Seal.IsZero() {
		t.Error("not sealed")
	}
	if err := verifyStock(t, r.Bundle); err != nil {
		t.Error(err)
	}
	p.irkit("verify", r.Bundle).want(t, 0)
}

// TestNoRoom: a disk with no room for the seal is refused before anything is touched.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	pod := small(t, c)
	p := newPerson(t)
	p.onDisk("48m")
	p.contain(pod.Name, pod.Namespace).want(t, 6).says(t, "nothing was changed", "disk is full", "hint: --home")
	after := getPod(t, c, pod.Namespace, pod.Name)
	if len(after.Spec.EphemeralContainers) > 0 || !equalMaps(after.Labels, pod.Labels) || after.ResourceVersion != pod.ResourceVersion {
		t.Errorf("the pod was touched: labels %v, %d ephemeral containers, version %s, was %s",
			after.Labels, len(after.Spec.EphemeralContainers), after.ResourceVersion, pod.ResourceVersion)
	}
	if bundles, _ := filepath.Glob(filepath.Join(p.home, "irkit", "cases", "*", "irkit-*")); len(bundles) > 0 {
		t.Errorf("left behind: %q", bundles)
	}
}
