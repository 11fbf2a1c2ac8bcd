//go:build e2e

package e2e

import (
	"path/filepath"
	"strings"
)

// quick are the arguments that run what `irkit contain` runs, but that do not wait until the
// policy holds by itself: with a new label that takes Cilium half a minute.
func (p *person) quick(pod, namespace string, more ...string) []string {
	p.t.Helper()
	const wait = "within: 60s"
	builtin := string(mustRead(p.t, filepath.Join("..", "..", "..", "playbooks", "builtin", "contain.yaml")))
	if !strings.Contains(builtin, wait) {
		p.t.Fatalf("the playbook contain has no %q", wait)
	}
	file := p.write("quick.yaml", strings.Replace(builtin, wait, "within: 1s", 1))
	return append([]string{"run", file, pod, "-n", namespace, "--image", image, "--pull", "Never", "--yes", "-o", "json"}, more...)
}

func (p *person) runQuick(pod, namespace string, more ...string) ran {
	p.t.Helper()
	return p.irkit(p.quick(pod, namespace, more...)...)
}
