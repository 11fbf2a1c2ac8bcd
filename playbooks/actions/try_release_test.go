package actions

import (
	"errors"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

// TestReleaseIsTriedWithDryRun: every write of a release but the lifting of the cut goes to
// the API server with dryRun=All, none without, and what admission refuses is told.
func TestReleaseIsTriedWithDryRun(t *testing.T) {
	for mode, want := range map[quarantine.Mode][]string{
		quarantine.ToService: {"delete networkpolicies", "delete poddisruptionbudgets", "patch nodes", "patch pods", "patch pods", "patch pods", "patch pods"},
		quarantine.DeletePod: {"delete networkpolicies", "delete poddisruptionbudgets", "delete pods", "patch nodes", "patch pods"},
	} {
		t.Run(string(mode), func(t *testing.T) {
			n := newNight(t)
			n.contain(t.Context(), t, func(o *playbooks.Order) { o.Hold = true })
			p, err := n.LookRelease(t.Context(), "c-1", mode)
			if err != nil {
				t.Fatal(err)
			}
			before, node := n.pod(t), n.node(t)
			n.client.ClearActions()
			var sent []string
			n.client.PrependReactor("*", "*", func(a ktesting.Action) (bool, runtime.Object, error) {
				var dry []string
				var answer runtime.Object
				switch a := a.(type) {
				case ktesting.PatchActionImpl:
					dry, answer = a.PatchOptions.DryRun, before
					if a.GetResource().Resource == "nodes" {
						answer = node
					}
				case ktesting.DeleteActionImpl:
					dry = a.DeleteOptions.DryRun
				default:
					return false, nil, nil
				}
				sent = append(sent, a.GetVerb()+" "+a.GetResource().Resource)
				if !slices.Equal(dry, []string{metav1.DryRunAll}) {
					t.Errorf("%s %s was sent with dryRun=%q", a.GetVerb(), a.GetResource().Resource, dry)
				}
				if a.GetResource().Resource == "poddisruptionbudgets" {
					return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "poddisruptionbudgets"}, "x", errors.New("a webhook says no"))
				}
				return true, answer, nil // as an API server: nothing is stored
			})
			answers := n.TryRelease(t.Context(), p)
			slices.Sort(sent)
			if !slices.Equal(sent, want) {
				t.Errorf("sent %q, want %q", sent, want)
			}
			if len(answers) != len(want) {
				t.Errorf("%d answers to %d writes: %+v", len(answers), len(want), answers)
			}
			for _, a := range answers {
				if refused := strings.Contains(a.Change, "poddisruptionbudget"); a.OK == refused || refused && !strings.Contains(a.Text, "a webhook says no") {
					t.Errorf("%+v", a)
				}
			}
		})
	}
}
