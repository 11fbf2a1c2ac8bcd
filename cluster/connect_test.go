package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
)

// server is an API server that answers every request with status and body, and keeps the
// headers that it was sent.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	seen []http.Header
}

func serve(t *testing.T, status int, body any, head map[string]string) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Header.Clone())
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		for k, v := range head {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) headers() []http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func kubeconfig(t *testing.T, url string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: lab\nclusters: [{name: c, cluster: {server: '" + url + "'}}]\nusers: [{name: u, user: {token: t}}]\n" +
		"contexts: [{name: lab, context: {cluster: c, user: u, namespace: prod}}]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pod(uid string) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "web-0", "namespace": "prod", "uid": uid}}
}

func TestEveryRequestIsNamedAndNumbered(t *testing.T) {
	var warned []string
	s := serve(t, http.StatusOK, pod("u-1"), map[string]string{"Warning": `299 - "old thing"`})
	c, err := cluster.Connect(cluster.Options{Kubeconfig: kubeconfig(t, s.URL), Case: "c-1\r\nX: y", Version: "1.2", Op: "op-1", As: "ir", Warn: func(w string) { warned = append(warned, w) }})
	if err != nil {
		t.Fatal(err)
	}
	if c.Context != "lab" || c.Namespace != "prod" || c.Cluster != s.URL {
		t.Errorf("context %q, namespace %q, cluster %q", c.Context, c.Namespace, c.Cluster)
	}
	outer, outerIDs := cluster.WithAudit(t.Context())
	inner, innerIDs := cluster.WithAudit(outer)
	for _, ctx := range []context.Context{outer, inner, t.Context()} {
		if _, err := c.Live(ctx, evidence.Target{Namespace: "prod", Pod: "web-0", UID: "u-1"}); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, h := range s.headers() {
		ids = append(ids, h.Get(cluster.AuditHeader))
		if got, want := h.Get("User-Agent"), "irkit/1.2 (case=c-1__X__y; op=op-1)"; got != want {
			t.Errorf("user agent %q, want %q", got, want)
		}
		if h.Get("Impersonate-User") != "ir" {
			t.Errorf("acts as %q", h.Get("Impersonate-User"))
		}
	}
	if len(ids) != 3 || ids[0] == "" || ids[0] == ids[1] || ids[1] == ids[2] {
		t.Errorf("audit ids %q", ids)
	}
	if !slices.Equal(outerIDs(), ids[:2]) || !slices.Equal(innerIDs(), ids[1:2]) {
		t.Errorf("trails %q and %q of %q", outerIDs(), innerIDs(), ids)
	}
	if len(warned) == 0 || warned[0] != "old thing" {
		t.Errorf("warnings %q", warned)
	}
}

func TestClockOffset(t *testing.T) {
	s := serve(t, http.StatusOK, pod("u-1"), map[string]string{"Date": time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)})
	c, err := cluster.Connect(cluster.Options{Kubeconfig: kubeconfig(t, s.URL)})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := c.ClockOffset(); ok {
		t.Error("an offset before the first answer")
	}
	if _, err := c.Live(t.Context(), evidence.Target{Namespace: "prod", Pod: "web-0", UID: "u-1"}); err != nil {
		t.Fatal(err)
	}
	off, give, ok := c.ClockOffset()
	if !ok || off-give > time.Hour+time.Second || off+give < time.Hour-time.Second {
		t.Errorf("%s ± %s, %v", off, give, ok)
	}
}

func TestErrorsAreOneLineWithAHint(t *testing.T) {
	status := func(code int, reason metav1.StatusReason) *server {
		return serve(t, code, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reason, Message: "line one\nline two"}, nil)
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, c := range map[string]struct {
		url  string
		hint string
	}{
		"unauthorised": {status(401, metav1.StatusReasonUnauthorized).URL, "log in again"},
		"forbidden":    {status(403, metav1.StatusReasonForbidden).URL, "irkit rbac"},
		"not found":    {status(404, metav1.StatusReasonNotFound).URL, "(-n)"},
		"unreachable":  {closed.URL, "is the cluster up"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := cluster.Connect(cluster.Options{Kubeconfig: kubeconfig(t, c.url)})
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = conn.Resolve(t.Context(), "web-0")
			if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(cluster.Hint(err), c.hint) {
				t.Errorf("error %q, hint %q", err, cluster.Hint(err))
			}
		})
	}
}

func TestConnectWithoutAContext(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("apiVersion: v1\nkind: Config\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]cluster.Options{
		"no such file":    {Kubeconfig: filepath.Join(t.TempDir(), "none")},
		"empty":           {Kubeconfig: empty},
		"no such context": {Kubeconfig: kubeconfig(t, "https://127.0.0.1:1"), Context: "prod"},
	} {
		if _, err := cluster.Connect(o); err == nil || strings.Contains(err.Error(), "\n") || cluster.Hint(err) == "" {
			t.Errorf("%s: %v (hint %q)", name, err, cluster.Hint(err))
		}
	}
}

func TestLiveKnowsAReplacement(t *testing.T) {
	s := serve(t, http.StatusOK, pod("u-2"), nil)
	c, err := cluster.Connect(cluster.Options{Kubeconfig: kubeconfig(t, s.URL)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Live(t.Context(), evidence.Target{Namespace: "prod", Pod: "web-0", UID: "u-1"}); !errors.Is(err, cluster.ErrReplaced) {
		t.Errorf("%v", err)
	}
}
