//go:build e2e

package e2e

import (
	"bytes"
	"debug/elf"
	"testing"

	"irkit.dev/irkit/evidence"
)

// TestMemoryAndPackets asks for what nobody gets by default, with the rights that a hand
// beside the target really has: a process's core, and the packets of the pod.
func TestMemoryAndPackets(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	p := newPerson(t)
	r := p.collect(small(t, c), "--memory", "1", "--packets", "1s").want(t, 0).result(t)
	all := entries(t, r.Bundle)
	e := find(t, all, "memory", "c0")
	f, err := elf.NewFile(bytes.NewReader(content(t, r.Bundle, e)))
	if err != nil {
		t.Fatalf("memory: %s (%s): %v", e.Status, e.Reason, err)
	}
	if e.Status != evidence.Changed || f.Type != elf.ET_CORE || len(f.Progs) < 4 {
		t.Errorf("memory: %s, %v, %d segments", e.Status, f.Type, len(f.Progs))
	}
	e = find(t, all, "packets", "pod")
	if b := content(t, r.Bundle, e); e.Status != evidence.Collected || len(b) < 28 || !bytes.Equal(b[:4], []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		t.Errorf("packets: %s (%s), %d bytes", e.Status, e.Reason, len(b))
	}
}
