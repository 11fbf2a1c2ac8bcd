//go:build linux

package inside

import (
	"os"
	"strings"
	"testing"
)

// In the node's PID namespace a process of another control group and mount namespace is
// none of the target's, though the reader shares that namespace with both.
func TestOnlyTheTargetsProcessesAreNearOnItsNode(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for _, node := range []bool{true, false} {
		v := New(Options{TargetPID: os.Getpid(), ContainerID: id, NodePIDs: node}).look()
		v.mntns = 1 // the target's; no process here has it
		if v.shared && v.near(os.Getpid(), "/kubepods/pod1/other") == node && (node || v.pidns != initialPID) {
			t.Errorf("among the node's processes %v: near is %v", node, node)
		}
		if !v.near(os.Getpid(), "/../"+id) {
			t.Errorf("among the node's processes %v: the target's own process is not near", node)
		}
	}
}
