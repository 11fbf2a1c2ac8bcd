package cluster_test

import (
	"net/http"
	"slices"
	"testing"

	"k8s.io/client-go/rest"

	"irkit.dev/irkit/cluster"
)

// TestSentHasWhatLeavesSomethingBehind: writes and streams, and neither reads, nor dry runs,
// nor reviews.
func TestSentHasWhatLeavesSomethingBehind(t *testing.T) {
	s := serve(t, http.StatusOK, pod("u-1"), nil)
	c, err := cluster.Connect(cluster.Options{Kubeconfig: kubeconfig(t, s.URL)})
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	const pods = "/api/v1/namespaces/prod/pods/"
	var want []string
	for _, r := range []struct {
		method, path string
		in           bool
	}{
		{"GET", pods + "web-0", false},
		{"GET", pods + "exec", false},
		{"PATCH", pods + "web-0?fieldManager=irkit", true},
		{"PATCH", pods + "web-0?dryRun=All", false},
		{"DELETE", pods + "web-0", true},
		{"GET", pods + "web-0/exec?command=x", true},
		{"POST", pods + "web-0/attach", true},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", false},
		{"POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", false},
		{"POST", "/apis/networking.k8s.io/v1/namespaces/prod/networkpolicies", true},
	} {
		q, err := http.NewRequestWithContext(t.Context(), r.method, s.URL+r.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if all := s.headers(); r.in {
			want = append(want, all[len(all)-1].Get(cluster.AuditHeader))
		}
	}
	if got := c.Sent(); !slices.Equal(got, want) || len(got) != 5 {
		t.Errorf("sent %q, want %q", got, want)
	}
}
