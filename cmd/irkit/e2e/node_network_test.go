//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/nodepod"
	"irkit.dev/irkit/evidence"
)

// making is a recorder that only acts.
type making struct{}

func (making) Do(ctx context.Context, _ evidence.Change, act func(context.Context) (json.RawMessage, error)) (json.RawMessage, error) {
	return act(ctx)
}

// TestTheHandRefusesTheNodesNetwork: were the plan's guard passed over, the hand itself
// refuses to cut a pod that uses the node's network, beside it and on its node; what it
// reads it still reads, and the node keeps its network.
func TestTheHandRefusesTheNodesNetwork(t *testing.T) {
	c := cluster(t)
	uncordon(t, c)
	newPerson(t).apply(t, "rbac", "--node")
	config, err := clientcmd.BuildConfigFromFlags("", admin)
	if err != nil {
		t.Fatal(err)
	}
	soon := int64(1)
	pod, err := c.CoreV1().Pods(ownNamespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "on-node-"},
		Spec: corev1.PodSpec{
			HostNetwork: true, TerminationGracePeriodSeconds: &soon,
			Containers: []corev1.Container{{Name: "app", Image: "lab.local/suspect:1", ImagePullPolicy: corev1.PullNever, Command: []string{"/suspect", "hold"}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.CoreV1().Pods(ownNamespace).Delete(context.WithoutCancel(t.Context()), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	})
	eventually(t, time.Minute, "pod "+pod.Name+" runs", func() bool {
		pod = getPod(t, c, ownNamespace, pod.Name)
		return ready(pod)
	})
	target := evidence.Target{ClusterUID: "lab", Namespace: pod.Namespace, Pod: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName}
	host := debugger.Host{Client: c, Config: config, Recorder: making{}, Case: "host-network", Image: image, PullPolicy: corev1.PullNever, Secret: []byte("e2e")}
	onNode := nodepod.Options{Host: host, Target: target}
	t.Cleanup(func() {
		if err := nodepod.Delete(context.WithoutCancel(t.Context()), onNode); err != nil {
			t.Error(err)
		}
	})
	node := []netip.Addr{netip.MustParseAddr(pod.Status.HostIP)}
	for name, start := range map[string]func() (*debugger.Hand, error){
		"beside": func() (*debugger.Hand, error) {
			return debugger.Start(t.Context(), debugger.Options{Host: host, Target: target, Container: "app"})
		},
		"on node": func() (*debugger.Hand, error) { return nodepod.Start(t.Context(), onNode) },
	} {
		hand, err := start()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		cut := agent.Cut{Case: "host-network", NodeAddrs: node}
		if name == "on node" {
			cut.NodeAddrs = nil // it knows without being told
		}
		opened, err := hand.Open(t.Context(), agent.Opening{Cut: &cut})
		if !errors.Is(err, agent.ErrNodeNetwork) {
			t.Errorf("%s: cut %v: %v", name, opened.Cut, err)
		}
		t.Logf("%s: %v", name, err)
		if opened.Processes == 0 {
			t.Errorf("%s: it read nothing: %q", name, opened.Faults)
		}
		if err := hand.Close(t.Context(), true); err != nil {
			t.Error(err)
		}
	}
	if cutStands(t, pod) {
		t.Error("a cut stands in the node's network")
	}
	if _, err := c.CoreV1().Nodes().Get(t.Context(), pod.Spec.NodeName, metav1.GetOptions{}); err != nil {
		t.Errorf("the API server in the node's network: %v", err)
	}
}
