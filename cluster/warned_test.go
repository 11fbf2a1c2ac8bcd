package cluster_test

import (
	"net/http"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// TestWarningsAreThoseOfTheContext: each once, and none of requests made without it.
func TestWarningsAreThoseOfTheContext(t *testing.T) {
	s := serve(t, http.StatusOK, pod("u-1"), map[string]string{"Warning": `299 - "would violate PodSecurity"`})
	c, err := cluster.Connect(cluster.Options{Kubeconfig: kubeconfig(t, s.URL)})
	if err != nil {
		t.Fatal(err)
	}
	who := evidence.Target{Namespace: "prod", Pod: "web-0", UID: "u-1"}
	ctx, warned := cluster.WithWarnings(t.Context())
	if _, err := c.Live(t.Context(), who); err != nil || len(warned()) > 0 {
		t.Fatalf("%v, warned %q of a request that is not ours", err, warned())
	}
	for range 2 {
		if _, err := c.Live(ctx, who); err != nil {
			t.Fatal(err)
		}
	}
	if got := warned(); !slices.Equal(got, []string{"would violate PodSecurity"}) {
		t.Errorf("warned %q", got)
	}
}

// TestResponder: the user of irkit's own binding, and nobody where there is none.
func TestResponder(t *testing.T) {
	b := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "irkit-target"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, Name: "oncall"}, {Kind: rbacv1.UserKind, Name: "kim"}},
	}
	c := &cluster.Conn{Client: fake.NewClientset(b)}
	if got := c.Responder(t.Context(), "prod"); got != "kim" {
		t.Errorf("responder %q", got)
	}
	if got := c.Responder(t.Context(), "other"); got != "" {
		t.Errorf("responder %q where nothing is bound", got)
	}
}
