//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestByHand runs the commands that the documents give for a machine without irkit, as they
// stand there, and wants the pod as it was.
func TestByHand(t *testing.T) {
	for _, program := range []string{"kubectl", "nft", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s on this machine to run the documented commands with", program)
		}
	}
	t.Parallel()
	c := cluster(t)
	was := workload(t, c, "Pod", "by-hand", 1)
	p := newPerson(t)
	held := p.write("held.yaml", strings.Replace(swift, "detach]", "detach, protect]", 1))
	r := p.irkit("run", held, was.Name, "-n", ownNamespace, "--hold", "--image", image, "--pull", "Never", "--yes", "-o", "json").want(t, 0).result(t)
	if left := protection(getPod(t, c, ownNamespace, was.Name)); len(left) < 4 {
		t.Errorf("protected by %v alone", left)
	}
	unheard(t, was)
	cut := documented(t, "cut.md", "## Lifting it by hand")
	api := documented(t, "containment.md", "### By hand")
	if len(cut) < 4 || len(api) < 6 {
		t.Fatalf("the documents have %d and %d commands", len(cut), len(api))
	}
	sets := strings.NewReplacer("NS", ownNamespace, "POD", was.Name, "CASE", r.Case, "NODE", was.Spec.NodeName, "PID", processIn(t, was))
	shell := func(line string) string {
		c := exec.CommandContext(t.Context(), "sh", "-c", sets.Replace(line))
		c.Env = append(os.Environ(), "KUBECONFIG="+admin)
		out, err := c.CombinedOutput()
		t.Logf("%s\n%s", sets.Replace(line), out)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		return string(out)
	}
	for _, line := range cut {
		shell(line)
	}
	labels := ""
	for _, line := range api {
		switch {
		case strings.Contains(line, "jsonpath"):
			labels = labelsIn(t, shell(line))
		case strings.Contains(line, "app=web ..."):
			shell(strings.Replace(line, "app=web ...", labels, 1))
		default:
			shell(line)
		}
	}
	checkUntouched(t, c, was, r.Case)
	eventually(t, 90*time.Second, "the pod talks again", func() bool { return time.Since(heard(t, was.Status.PodIP)) < 2*time.Second })
}

// documented are the commands of the first block under a heading, without their comments.
func documented(t *testing.T, file, heading string) []string {
	t.Helper()
	text := string(mustRead(t, filepath.Join("..", "..", "..", "docs", file)))
	_, text, found := strings.Cut(text, heading+"\n")
	if !found {
		t.Fatalf("%s has no %q", file, heading)
	}
	_, text, _ = strings.Cut(text, "```\n")
	text, _, _ = strings.Cut(text, "```")
	var out []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "   #")
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// labelsIn are the labels that an undo annotation holds, as kubectl takes them.
func labelsIn(t *testing.T, note string) string {
	t.Helper()
	var outer struct{ Undo string }
	var inner struct{ Labels map[string]string }
	if err := json.Unmarshal([]byte(note), &outer); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(outer.Undo), &inner); err != nil || len(inner.Labels) == 0 {
		t.Fatalf("labels %v, %v", inner.Labels, err)
	}
	var all []string
	for k, v := range inner.Labels {
		all = append(all, k+"="+v)
	}
	return strings.Join(all, " ")
}

// processIn is the PID of a process of the pod, as the node sees it.
func processIn(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if b, err := os.ReadFile(g); err == nil && bytes.Contains(b, []byte("pod"+string(pod.UID))) {
			return filepath.Base(filepath.Dir(g))
		}
	}
	t.Fatalf("no process of pod %s is on this machine", pod.Name)
	return ""
}
