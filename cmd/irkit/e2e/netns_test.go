//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/nftables"
	corev1 "k8s.io/api/core/v1"
)

// cutStands looks from the node, as root, whether a table of irkit's is in the pod's own
// network namespace. It asks neither irkit nor Kubernetes.
func cutStands(t *testing.T, pod *corev1.Pod) bool {
	t.Helper()
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		b, err := os.ReadFile(g)
		if err != nil || !bytes.Contains(b, []byte("pod"+string(pod.UID))) {
			continue
		}
		space, err := os.Open(filepath.Join(filepath.Dir(g), "ns", "net"))
		if err != nil {
			continue // it ended
		}
		defer space.Close()
		c, err := nftables.New(nftables.WithNetNSFd(int(space.Fd())))
		if err != nil {
			t.Fatal(err)
		}
		tables, err := c.ListTables()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range tables {
			if strings.HasPrefix(n.Name, "irkit-") {
				return true
			}
		}
		return false
	}
	t.Logf("no process of pod %s is on this machine any more", pod.Name)
	return false // its network namespace went with it
}
