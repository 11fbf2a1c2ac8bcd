package debugger

import (
	"errors"
	"slices"
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

	"irkit.dev/irkit/evidence"
)

// TestTheProbePodIsTriedAndNotMade: the one write that is sent has dryRun=All.
func TestTheProbePodIsTriedAndNotMade(t *testing.T) {
	refusal := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "irkit-probe-c1", errors.New("PodSecurity says no"))
	of := func(name, caseID string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: SystemNamespace, Labels: map[string]string{evidence.LabelCase: caseID}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: probeContainer}}}}
	}
	for name, c := range map[string]struct {
		there  *corev1.Pod
		refuse error
		want   string // of the error; empty: none
	}{
		"free":                 {},
		"made by this case":    {there: of(probeName("c1"), "c1")},
		"of another case":      {there: of(probeName("c1"), "c2"), want: "is not of case c1"},
		"refused by admission": {refuse: refusal, want: "PodSecurity says no"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset()
			if c.there != nil {
				client = fake.NewClientset(c.there)
			}
			var sent [][]string
			client.PrependReactor("create", "pods", func(a ktesting.Action) (bool, runtime.Object, error) {
				create := a.(ktesting.CreateActionImpl)
				sent = append(sent, create.CreateOptions.DryRun)
				if c.there != nil {
					return false, nil, nil
				}
				return true, create.Object, c.refuse // as an API server: nothing is stored
			})
			err := TryProbePod(t.Context(), ProbeOptions{Host: Host{Client: client, Case: "c1", Image: "irkit-agent:1", Secret: []byte("s"), Config: &rest.Config{}, Recorder: &journal{}}})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if len(sent) != 1 || !slices.Equal(sent[0], []string{metav1.DryRunAll}) {
				t.Errorf("creations were sent with dryRun=%q, want one with All", sent)
			}
			for _, a := range client.Actions() {
				if v := a.GetVerb(); v != "create" && v != "get" {
					t.Errorf("%s %s was sent", v, a.GetResource().Resource)
				}
			}
		})
	}
}
