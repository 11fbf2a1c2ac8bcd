package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	namespace = "prod"
	victim    = "web-0"
	mark      = "bench-quarantine"
)

// way is one way to contain the pod.
type way struct {
	name  string
	lacks string // what this machine lacks for it
	do    func(ctx context.Context, home string) *exec.Cmd
	after func(ctx context.Context, home string) error
	uses  func(uid string) (*exec.Cmd, error) // instead of do, when it must know the pod
	seen  []seen
}

func (b *bench) ways() []way {
	irkit := func(ctx context.Context, home string, args ...string) *exec.Cmd {
		c := exec.CommandContext(ctx, b.irkit, args...)
		c.Env = append(os.Environ(), "KUBECONFIG="+b.kubeconfig, "HOME="+home, "IRKIT_HOME="+home+"/irkit", "XDG_CONFIG_HOME="+home)
		return c
	}
	hand := []string{"-n", namespace, "--image", b.image, "--pull", "Never", "--yes"}
	limit := way{name: "nft drop rules, root on the node (the limit)", uses: cutOnNode}
	for _, tool := range []string{"nft", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			limit.lacks = "no " + tool + " here"
		}
	}
	return []way{
		{
			name: "irkit contain",
			do: func(ctx context.Context, home string) *exec.Cmd {
				return irkit(ctx, home, append([]string{"contain", victim}, hand...)...)
			},
			after: func(ctx context.Context, home string) error {
				return ended(irkit(ctx, home, append([]string{"release", victim, "--delete-pod"}, hand...)...))
			},
		},
		{name: "label and deny policy by hand", do: b.byHand},
		limit,
	}
}

// byHand is kubectl where there is one; else this program does the same two requests, in
// a process of its own as kubectl would.
func (b *bench) byHand(ctx context.Context, _ string) *exec.Cmd {
	if kubectl, err := exec.LookPath("kubectl"); err == nil {
		c := exec.CommandContext(ctx, "sh", "-c", `set -e
			"$1" -n "$2" create -f - && "$1" -n "$2" label pod "$3" "$4"=true`, "sh", kubectl, namespace, victim, mark)
		c.Env = append(os.Environ(), "KUBECONFIG="+b.kubeconfig)
		c.Stdin = strings.NewReader(`{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"` + mark + `"},
			"spec":{"podSelector":{"matchLabels":{"` + mark + `":"true"}},"policyTypes":["Ingress","Egress"]}}`)
		return c
	}
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return exec.CommandContext(ctx, self, "-by-hand", "-kubeconfig", b.kubeconfig)
}

// label is what a person does by hand: a policy that denies all for a label, and the label.
func (b *bench) label(ctx context.Context) error {
	policy := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: mark},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{mark: "true"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		},
	}
	if _, err := b.client.NetworkingV1().NetworkPolicies(namespace).Create(ctx, policy, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create policy: %w", err)
	}
	patch := `{"metadata":{"labels":{"` + mark + `":"true"}}}`
	if _, err := b.client.CoreV1().Pods(namespace).Patch(ctx, victim, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("label pod: %w", err)
	}
	return nil
}

// cutOnNode drops everything in the pod's network namespace, without irkit and without
// Kubernetes.
func cutOnNode(uid string) (*exec.Cmd, error) {
	groups, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		b, err := os.ReadFile(g)
		if err != nil || !bytes.Contains(b, []byte(uid)) && !bytes.Contains(b, []byte(strings.ReplaceAll(uid, "-", "_"))) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(g)))
		if err != nil {
			continue
		}
		c := exec.Command("nsenter", "-t", strconv.Itoa(pid), "-n", "nft", "-f", "-")
		c.Stdin = strings.NewReader(`table inet bench {
			chain in { type filter hook input priority -300; policy drop; }
			chain out { type filter hook output priority -300; policy drop; }
		}`)
		return c, nil
	}
	return nil, fmt.Errorf("no process of pod %s is on this machine", uid)
}

// measure puts the scene back, waits until the suspect talks, and does it one way.
func (b *bench) measure(ctx context.Context, w way) (seen, error) {
	if err := ended(exec.CommandContext(ctx, b.lab, "scene", "reset")); err != nil {
		return seen{}, err
	}
	home, err := os.MkdirTemp("", "irkit-bench-")
	if err != nil {
		return seen{}, err
	}
	defer os.RemoveAll(home)
	pod, err := b.client.CoreV1().Pods(namespace).Get(ctx, victim, metav1.GetOptions{})
	if err != nil {
		return seen{}, err
	}
	e, err := b.listen(pod.Status.PodIP)
	if err != nil {
		return seen{}, err
	}
	defer e.file.Close()
	if err := e.talks(ctx); err != nil {
		return seen{}, err
	}
	var c *exec.Cmd
	if w.uses == nil {
		c = w.do(ctx, home)
	} else if c, err = w.uses(string(pod.UID)); err != nil {
		return seen{}, err
	}
	began := time.Now()
	if err := ended(c); err != nil {
		return seen{}, err
	}
	s, err := e.silence(ctx, began)
	if err == nil && w.after != nil {
		err = w.after(ctx, home)
	}
	return s, err
}

// ended runs a program and tells what it said when it fails.
func ended(c *exec.Cmd) error {
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%s: %w\n%s", c, err, out)
	}
	return err
}
