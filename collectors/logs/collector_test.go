package logs_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/collectors/collectortest"
	"irkit.dev/irkit/collectors/logs"
	"irkit.dev/irkit/evidence"
)

var target = evidence.Target{ClusterUID: "k", Namespace: "prod", Pod: "web-0", UID: "u1", Node: "n1"}

const pod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-0","namespace":"prod","uid":"u1"},"spec":{
 "containers":[{"name":"app"},{"name":"quiet"},{"name":"gone"}],"initContainers":[{"name":"setup"}],
 "ephemeralContainers":[{"name":"irkit-abc"},{"name":"debug"}]},
 "status":{"containerStatuses":[{"name":"app","restartCount":1},{"name":"gone","restartCount":2},{"name":"quiet","restartCount":0}]}}`

// server is an API server that knows one pod and its logs.
func server(t *testing.T, uid string, denied bool) kubernetes.Interface {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		status := func(code int, reason, message string) {
			w.WriteHeader(code)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":%q}`, code, reason, message)
		}
		q := r.URL.Query()
		switch {
		case denied:
			status(403, "Forbidden", `pods "web-0" is forbidden`)
		case r.URL.Path == "/api/v1/namespaces/prod/pods/web-0":
			fmt.Fprint(w, strings.Replace(pod, `"u1"`, `"`+uid+`"`, 1))
		case q.Get("timestamps") != "true":
			status(400, "BadRequest", "asked without timestamps")
		case q.Get("container") == "irkit-abc":
			t.Error("our own container's log was asked for")
		case q.Get("previous") == "true" && q.Get("container") != "app":
			status(400, "BadRequest", fmt.Sprintf("previous terminated container %q in pod %q not found", q.Get("container"), "web-0"))
		case q.Get("container") == "quiet":
			w.Header().Set("Content-Type", "text/plain")
		case q.Get("container") == "gone":
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, "unable to retrieve container logs for containerd://0123")
		case q.Get("container") == "debug":
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, "2026-11-22T21:00:00Z half a li")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		default:
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprintf(w, "2026-11-22T21:00:00.000000001Z %s \x1b[31m\xff %s\n", q.Get("container"), q.Get("previous"))
		}
	}))
	t.Cleanup(s.Close)
	c, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ours(name string) bool { return strings.HasPrefix(name, "irkit-") }

func TestLogs(t *testing.T) {
	sink := &collectortest.Sink{}
	err := logs.New(logs.Options{Client: server(t, "u1", false), Ours: ours}).Collect(t.Context(), target, sink)
	if err == nil || !strings.Contains(err.Error(), "log-current of debug") {
		t.Errorf("the broken stream is not in the error: %v", err)
	}
	got := map[string]string{}
	for _, i := range sink.Items {
		got[i.Kind+" "+i.Ordinal+" "+i.Container] = string(i.Entry.Status) + " " + string(i.Bytes)
		if i.Entry.Status != evidence.Collected && i.Entry.Reason == "" {
			t.Errorf("%s of %s: %s without a reason", i.Kind, i.Container, i.Entry.Status)
		}
	}
	for k, want := range map[string]string{
		"log-current c0 app":    "collected 2026-11-22T21:00:00.000000001Z app \x1b[31m\xff \n",
		"log-previous c0 app":   "collected 2026-11-22T21:00:00.000000001Z app \x1b[31m\xff true\n",
		"log-current c1 quiet":  "collected ",
		"log-previous c1 quiet": "left-out ",
		"log-current c2 gone":   "impossible ",
		"log-current i0 setup":  "collected 2026-11-22T21:00:00.000000001Z setup \x1b[31m\xff \n",
		"log-previous i0 setup": "left-out ",
		"log-current e1 debug":  "truncated 2026-11-22T21:00:00Z half a li",
		"log-previous e1 debug": "left-out ",
		"log-previous c2 gone":  "impossible ",
	} {
		if got[k] != want {
			t.Errorf("%s: %q, want %q", k, got[k], want)
		}
		delete(got, k)
	}
	if len(got) > 0 {
		t.Errorf("entries that nobody asked for: %v", got)
	}
}

func TestReplacedPod(t *testing.T) {
	sink := &collectortest.Sink{}
	if err := logs.New(logs.Options{Client: server(t, "u2", false), Ours: ours}).Collect(t.Context(), target, sink); err != nil {
		t.Fatal(err)
	}
	if len(sink.Items) != 1 || sink.Items[0].Absent == nil || !strings.Contains(sink.Items[0].Absent.Reason, "u2") {
		t.Errorf("another pod of the same name was read: %+v", sink.Items)
	}
}

func TestConform(t *testing.T) {
	whole := func(name string) bool { return ours(name) || name == "debug" }
	collectortest.Conform(t, collectortest.Subject{
		Target: target,
		Whole: func(t *testing.T) collectors.Collector {
			return logs.New(logs.Options{Client: server(t, "u1", false), Ours: whole})
		},
		Denied: func(t *testing.T) collectors.Collector {
			return logs.New(logs.Options{Client: server(t, "u1", true), Ours: whole})
		},
	})
}
