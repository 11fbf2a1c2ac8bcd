package bag_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/bag"
	"irkit.dev/irkit/evidence/verify"
)

// smallDisk is a file system of that many bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("irkit-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDiskIsToldAndSealed(t *testing.T) {
	for _, compress := range []bool{false, true} {
		dir := smallDisk(t, "3m")
		w, err := bag.Create(t.Context(), dir, bundleID, bag.Options{Reserve: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{TB: t, caseDir: dir, w: w}
		b.openLog()
		b.add("small", []byte("came before"), nil)
		a := artifact("rootfs")
		a.Compress = compress
		noise := make([]byte, 8<<20)
		if _, err := rand.Read(noise); err != nil {
			t.Fatal(err)
		}
		e, err := w.Add(t.Context(), a, bytes.NewReader(noise))
		if !errors.Is(err, bag.ErrDiskFull) || !errors.Is(err, unix.ENOSPC) || e.Status != evidence.Truncated || e.Size < 1<<20 {
			t.Fatalf("compressed %v: entry %+v, %v", compress, e, err)
		}
		if compress && (e.Encoding == nil || e.Encoding.SHA256 != sum(noise[:e.Encoding.Size])) {
			t.Errorf("what came cannot be unpacked: %+v", e)
		}
		if !compress && e.SHA256 != sum(noise[:e.Size]) {
			t.Errorf("what came is not what is told: %+v", e)
		}
		refused, err := w.Add(t.Context(), artifact("more"), bytes.NewReader(noise[:10]))
		if !errors.Is(err, bag.ErrDiskFull) || refused.Status != evidence.Impossible || len(refused.Parts) != 0 {
			t.Errorf("entry %+v, %v", refused, err)
		}
		key := newKey(t)
		b.seal(key)
		r, err := verify.Bundle(t.Context(), w.Dir(), verify.Options{Signers: signersFile(t, key), Deep: true})
		if err != nil || !r.OK() || r.Entries != 3 {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

func TestRoomThatComesBackIsUsedAgain(t *testing.T) {
	dir := smallDisk(t, "4m")
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := bag.Create(t.Context(), dir, bundleID, bag.Options{Reserve: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, caseDir: dir, w: w}
	b.openLog()
	if _, err := w.Add(t.Context(), artifact("big"), bytes.NewReader(make([]byte, 2<<20))); !errors.Is(err, bag.ErrDiskFull) {
		t.Fatal(err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	b.add("again", make([]byte, 1<<19), nil)
	if _, err := os.Stat(w.Dir() + ".reserve"); err != nil {
		t.Errorf("no reserve again: %v", err)
	}
}

func TestNoRoomForTheReserveIsSaidAtOnce(t *testing.T) {
	dir := smallDisk(t, "512k")
	if _, err := bag.Create(t.Context(), dir, bundleID, bag.Options{Reserve: 1 << 20}); !errors.Is(err, bag.ErrDiskFull) {
		t.Errorf("Create: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A record that does not fit leaves the log as it was, and fits once there is room.
func TestCustodyLogOnAFullDisk(t *testing.T) {
	dir := smallDisk(t, "512k")
	w, err := bag.Create(t.Context(), dir, bundleID, bag.Options{Reserve: 128 << 10})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, caseDir: dir, w: w}
	b.openLog()
	b.record(evidence.ActOpened)
	before := b.log.Head()
	big := evidence.Record{Action: evidence.ActStep, Note: string(bytes.Repeat([]byte("n"), 420<<10))}
	if _, _, err := b.log.Append(t.Context(), big); !errors.Is(err, unix.ENOSPC) || b.log.Head() != before {
		t.Fatalf("%v, head %+v", err, b.log.Head())
	}
	if err := w.FreeReserve(); err != nil {
		t.Fatal(err)
	}
	b.record(evidence.ActStep)
	b.seal(newKey(t))
	if r, err := verify.Bundle(t.Context(), w.Dir(), verify.Options{}); err != nil || r.Integrity != verify.OK {
		t.Errorf("%+v, %v", r, err)
	}
}
