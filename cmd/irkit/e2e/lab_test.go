//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"irkit.dev/irkit/evidence"
)

// What bench/e2e.sh prepared: a lab that is up, the program, its image in the lab's
// containerd, and the rights of `irkit rbac` granted to the user "responder".
var (
	binary    = env("IRKIT_BIN", "../../../bin/irkit")
	labDir    = env("IRKIT_LAB_DIR", "/var/lib/irkit-lab")
	labTool   = env("IRKIT_LAB_PROGRAM", "")
	image     = env("IRKIT_E2E_IMAGE", "lab.local/irkit-agent:e2e")
	debug     = env("IRKIT_E2E_DEBUG_IMAGE", "lab.local/busybox:1")
	responder = filepath.Join(labDir, "responder.kubeconfig")
	admin     = filepath.Join(labDir, "kubeconfig")
)

func env(name, other string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return other
}

// person is one responder with a machine of their own: a home, a key, a kubeconfig.
type person struct {
	t    *testing.T
	home string
	kube string
	env  []string
}

func newPerson(t *testing.T) *person {
	t.Helper()
	return &person{t: t, home: t.TempDir(), kube: responder}
}

// ran is what one run of the program came to.
type ran struct {
	code           int
	stdout, stderr string
}

func (p *person) command(ctx context.Context, args ...string) *exec.Cmd {
	path, err := filepath.Abs(binary)
	if err != nil {
		p.t.Fatal(err)
	}
	c := exec.CommandContext(ctx, path, args...)
	c.Env = append(os.Environ(), "KUBECONFIG="+p.kube, "HOME="+p.home, "IRKIT_HOME="+filepath.Join(p.home, "irkit"),
		"XDG_CONFIG_HOME="+filepath.Join(p.home, "config"), "IRKIT_IMAGE=", "IRKIT_DEBUG_IMAGE=")
	c.Env = append(c.Env, p.env...)
	return c
}

func (p *person) irkit(args ...string) ran {
	p.t.Helper()
	ctx, done := context.WithTimeout(p.t.Context(), 6*time.Minute)
	defer done()
	c := p.command(ctx, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	r := ran{stdout: out.String(), stderr: errs.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		p.t.Fatalf("irkit %q: %v", args, err)
	}
	p.t.Logf("irkit %s\nexit %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	return r
}

// want ends the test unless the program ended with that status.
func (r ran) want(t *testing.T, code int) ran {
	t.Helper()
	if r.code != code {
		t.Fatalf("exit %d, want %d", r.code, code)
	}
	return r
}

func (r ran) says(t *testing.T, words ...string) ran {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(r.stdout+r.stderr, w) {
			t.Errorf("it does not say %q", w)
		}
	}
	return r
}

// result is what contain and collect print with -o json.
type result struct {
	Case       string            `json:"case"`
	Bundle     string            `json:"bundle"`
	Seal       evidence.Digest   `json:"seal_sha256"`
	Verdict    *evidence.Verdict `json:"verdict"`
	Failed     []string          `json:"failed"`
	Missing    int               `json:"missing"`
	Entries    int               `json:"entries"`
	Resumed    bool              `json:"resumed"`
	Receipt    string            `json:"receipt"`
	StoreError string            `json:"store_error"`
}

func (r ran) result(t *testing.T) result {
	t.Helper()
	var v result
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil {
		t.Fatalf("stdout is no result: %v", err)
	}
	return v
}

// contain runs contain with what every test wants of it.
func (p *person) contain(pod, namespace string, more ...string) ran {
	p.t.Helper()
	return p.irkit(append([]string{"contain", pod, "-n", namespace, "--image", image, "--pull", "Never", "--yes", "-o", "json"}, more...)...)
}

func (p *person) release(pod, namespace string, more ...string) ran {
	p.t.Helper()
	return p.irkit(append([]string{"release", pod, "-n", namespace, "--image", image, "--pull", "Never", "--yes"}, more...)...)
}

// cluster is the lab's, as its administrator sees it.
func cluster(t *testing.T) kubernetes.Interface {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", admin)
	if err != nil {
		t.Fatal(err)
	}
	cfg.QPS, cfg.Burst = 50, 100
	return kubernetes.NewForConfigOrDie(cfg)
}

// reset puts the scene back as it was, with nothing of ours left.
func reset(t *testing.T) kubernetes.Interface {
	t.Helper()
	if labTool == "" {
		t.Fatal("IRKIT_LAB_PROGRAM names no lab: run `make e2e`")
	}
	uncordon(t, cluster(t))
	// A run that was killed leaves its probe pod until its deadline.
	if err := cluster(t).CoreV1().Pods("irkit-system").DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), labTool, "scene", "reset").CombinedOutput()
	if err != nil {
		t.Fatalf("reset the scene: %v\n%s", err, out)
	}
	// With the namespaces' content the responder's rights went too.
	c := exec.CommandContext(t.Context(), os.Getenv("IRKIT_E2E_APPLY"), strings.Fields(os.Getenv("IRKIT_E2E_RIGHTS"))...)
	c.Env = append(os.Environ(), "KUBECONFIG="+admin)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("grant the responder's rights: %v\n%s", err, out)
	}
	return cluster(t)
}

// uncordon takes off what a run that failed left on the node: no new pod would start.
func uncordon(t *testing.T, c kubernetes.Interface) {
	t.Helper()
	patch := []byte(`{"spec":{"unschedulable":null}}`)
	if _, err := c.CoreV1().Nodes().Patch(t.Context(), "lab-node", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func getPod(t *testing.T, c kubernetes.Interface, namespace, name string) *corev1.Pod {
	t.Helper()
	p, err := c.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// eventually waits for what a controller does in its own time.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %s: %s", limit, what)
}

// stock runs a program that every machine has, in a folder.
func stock(t *testing.T, dir string, argv ...string) (string, error) {
	t.Helper()
	c := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out), err
}
