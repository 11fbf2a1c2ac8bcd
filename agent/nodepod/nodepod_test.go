package nodepod

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	ktesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/evidence"
)

var update = flag.Bool("update", false, "write the golden files")

var id = strings.Repeat("0123456789abcdef", 4)

func target() evidence.Target {
	return evidence.Target{ClusterUID: "cluster-1", Namespace: "prod", Pod: "web-0", UID: "0c5a9d1e-1111-4222-8333-444455556666", Node: "n1"}
}

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-0", UID: "0c5a9d1e-1111-4222-8333-444455556666"},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "down"}, {Name: "app"}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{Name: "app", ContainerID: "containerd://" + id, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			{Name: "down", ContainerID: "containerd://" + strings.Repeat("f", 64)},
		}},
	}
}

// recorder writes down what was intended, and acts.
type recorder struct{ changes []evidence.Change }

func (r *recorder) Do(ctx context.Context, c evidence.Change, act func(context.Context) (json.RawMessage, error)) (json.RawMessage, error) {
	r.changes = append(r.changes, c)
	return act(ctx)
}

func options(t *testing.T, objects ...runtime.Object) (Options, *fake.Clientset, *recorder) {
	t.Helper()
	client, rec := fake.NewClientset(objects...), &recorder{}
	// There is no kubelet: what is created has ended, so that nobody waits for it.
	client.PrependReactor("create", "pods", func(a ktesting.Action) (bool, runtime.Object, error) {
		a.(ktesting.CreateAction).GetObject().(*corev1.Pod).Status.Phase = corev1.PodFailed
		return false, nil, nil
	})
	return Options{Target: target(), Host: debugger.Host{
		Client: client, Config: &rest.Config{}, Recorder: rec, Case: "c-1", Image: "agent:1", Secret: []byte("secret"),
	}}, client, rec
}

// TestPod: what is created, to the byte.
func TestPod(t *testing.T) {
	for name, tune := range map[string]func(*Options){
		"image": func(*Options) {},
		"debug-image": func(o *Options) {
			o.Image, o.DebugImage, o.Binary = "", "busybox:1", func(string) ([]byte, error) { return nil, nil }
		},
	} {
		o, client, rec := options(t, pod())
		tune(&o)
		if _, err := Start(t.Context(), o); !errors.Is(err, debugger.ErrEnded) {
			t.Errorf("%v", err)
		}
		if _, err := client.CoreV1().Pods("irkit-node").Get(t.Context(), Name("c-1", target()), metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		draft, err := Draft(o, pod())
		if err != nil || len(rec.changes) != 1 || !Is(rec.changes[0]) || rec.changes[0].ID != draft.ID {
			t.Errorf("recorded %+v, drafted %s, %v", rec.changes, draft.ID, err)
		}
		if err := Try(t.Context(), o, pod()); err != nil { // it is there: no error
			t.Error(err)
		}
		got, err := yaml.JSONToYAML(rec.changes[0].After)
		if err != nil {
			t.Fatal(err)
		}
		file := "testdata/" + name + ".yaml"
		if *update {
			if err := os.WriteFile(file, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not what is created (%v):\n%s", file, err, got)
		}
		if err := Delete(t.Context(), o); err != nil {
			t.Error(err)
		}
		if len(rec.changes) != 2 || !Is(rec.changes[1]) || rec.changes[1].Op != evidence.OpDelete {
			t.Errorf("recorded %+v", rec.changes)
		}
		if err := Delete(t.Context(), o); err != nil || len(rec.changes) != 2 {
			t.Errorf("twice: %v, %d changes", err, len(rec.changes))
		}
	}
}

// TestStaticPod: the node knows it by the digest of its manifest.
func TestStaticPod(t *testing.T) {
	p := pod()
	p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "26acfe6dfe34fa8a1c3f4f3f8a3f1d2b"}
	o, client, _ := options(t, p)
	_, _ = Start(t.Context(), o)
	made, err := client.CoreV1().Pods("irkit-node").Get(t.Context(), Name("c-1", target()), metav1.GetOptions{})
	if err != nil || !strings.Contains(strings.Join(made.Spec.Containers[0].Command, " "), "--pod-uid 26acfe6dfe34fa8a1c3f4f3f8a3f1d2b") {
		t.Errorf("%+v, %v", made, err)
	}
}

func TestRefusals(t *testing.T) {
	replaced, pending, down := pod(), pod(), pod()
	replaced.UID, pending.Spec.NodeName, down.Status.ContainerStatuses = "another", "", nil
	forbidden := func(verb string) func(*fake.Clientset) {
		return func(c *fake.Clientset) {
			c.PrependReactor(verb, "pods", func(a ktesting.Action) (bool, runtime.Object, error) {
				if a.GetNamespace() != "irkit-node" {
					return false, nil, nil
				}
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "x", errors.New("no"))
			})
		}
	}
	nowhere := func(c *fake.Clientset) {
		c.PrependReactor("create", "pods", func(ktesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "irkit-node")
		})
	}
	foreign := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "irkit-node", Name: Name("c-1", target())}, Spec: corev1.PodSpec{Containers: []corev1.Container{{}}}}
	for name, c := range map[string]struct {
		objects []runtime.Object
		tune    func(*fake.Clientset)
		want    error
		writes  int
	}{
		"gone":                {nil, nil, debugger.ErrReplaced, 0},
		"replaced":            {[]runtime.Object{replaced}, nil, debugger.ErrReplaced, 0},
		"pending":             {[]runtime.Object{pending}, nil, debugger.ErrTargetDown, 0},
		"no container":        {[]runtime.Object{down}, nil, debugger.ErrTargetDown, 0},
		"may not look":        {[]runtime.Object{pod()}, forbidden("get"), ErrSetup, 0},
		"may not create":      {[]runtime.Object{pod()}, forbidden("create"), ErrSetup, 1},
		"no namespace":        {[]runtime.Object{pod()}, nowhere, ErrSetup, 1},
		"someone else's name": {[]runtime.Object{pod(), foreign}, nil, nil, 0},
	} {
		o, client, rec := options(t, c.objects...)
		if c.tune != nil {
			c.tune(client)
		}
		_, err := Start(t.Context(), o)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || len(rec.changes) != c.writes {
			t.Errorf("%s: %v after %d writes; want %v after %d", name, err, len(rec.changes), c.want, c.writes)
		}
		if errors.Is(c.want, ErrSetup) && !strings.Contains(err.Error(), Setup) {
			t.Errorf("%s: %v does not say what to run", name, err)
		}
		if name == "someone else's name" {
			if err := Delete(t.Context(), o); err != nil || len(rec.changes) != 0 {
				t.Errorf("%s: %v, %+v", name, err, rec.changes)
			}
		}
	}
}
