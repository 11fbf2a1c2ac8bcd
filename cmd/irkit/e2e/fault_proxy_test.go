//go:build e2e

package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// fault is one call that gets another answer than the API server's.
type fault struct {
	Call string // as call.Key
	N    int    // the how-manyth of that key, from 1
	Kind string // 409, 422, 429, 500, 503; lost: made, but the answer never came; cut: never sent
	Ever bool   // and every later one of that key too
}

func (f fault) String() string {
	ever := ""
	if f.Ever {
		ever = " and ever after"
	}
	return fmt.Sprintf("%s on %s #%d%s", f.Kind, f.Call, f.N, ever)
}

// call is one request that passed.
type call struct {
	Key        string
	N          int
	Start, End time.Time // until the answer's head; of a stream, until it was opened
	Status     int
	Faulty     bool
}

// gate is a proxy in front of the API server that ends TLS on both sides: it speaks with a
// certificate of its own to irkit and with the responder's to the server, and so can
// answer in the server's place.
type gate struct {
	*httptest.Server
	pass  *httputil.ReverseProxy
	names *strings.Replacer
	delay time.Duration // added to every call, so that what is sent side by side overlaps

	mu    sync.Mutex
	fault *fault
	seen  map[string]int
	calls []call
	hits  int
}

// newGate starts one and answers a kubeconfig that leads through it. names are what stands
// in a path for this run alone, and what to write instead.
func newGate(t *testing.T, f *fault, names ...string) (*gate, string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", responder)
	if err != nil {
		t.Fatal(err)
	}
	secure, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	server, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{fault: f, seen: map[string]int{}, names: strings.NewReplacer(names...)}
	g.pass = httputil.NewSingleHostReverseProxy(server)
	g.pass.FlushInterval = -1
	g.pass.ErrorLog = log.New(io.Discard, "", 0)
	// HTTP/1.1 alone: upgrades to streams pass no other.
	g.pass.Transport = &http.Transport{TLSClientConfig: secure, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, MaxIdleConnsPerHost: 64}
	g.pass.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	g.Server = httptest.NewUnstartedServer(g)
	g.Config.ErrorLog = g.pass.ErrorLog
	g.StartTLS()
	t.Cleanup(func() {
		g.CloseClientConnections()
		g.Close()
	})
	kube := clientcmdapi.NewConfig()
	kube.Clusters["gate"] = &clientcmdapi.Cluster{Server: g.URL, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.Certificate().Raw})}
	kube.AuthInfos["nobody"] = &clientcmdapi.AuthInfo{}
	kube.Contexts["gate"] = &clientcmdapi.Context{Cluster: "gate", AuthInfo: "nobody"}
	kube.CurrentContext = "gate"
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*kube, path); err != nil {
		t.Fatal(err)
	}
	return g, path
}

var probePod = regexp.MustCompile(`irkit-probe-[0-9a-f]+`)

// key names a call so that the same one is known again in another run.
func (g *gate) key(r *http.Request) string {
	k := r.Method + " " + probePod.ReplaceAllString(g.names.Replace(strings.TrimPrefix(r.URL.Path, "/")), "PROBE")
	q := r.URL.Query()
	switch {
	case q.Get("dryRun") != "":
		k += " dry"
	case q.Get("watch") != "":
		k += " watch"
	}
	return k
}

// ServeHTTP implements http.Handler.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := call{Key: g.key(r), Start: time.Now()}
	g.mu.Lock()
	g.seen[c.Key]++
	c.N = g.seen[c.Key]
	kind := ""
	if f := g.fault; f != nil && f.Call == c.Key && (c.N == f.N || f.Ever && c.N > f.N) {
		kind, c.Faulty = f.Kind, true
		g.hits++
	}
	g.mu.Unlock()
	time.Sleep(g.delay)
	head := &heading{ResponseWriter: w, wrote: func(status int) {
		c.End, c.Status = time.Now(), status
		g.mu.Lock()
		defer g.mu.Unlock()
		g.calls = append(g.calls, c)
	}}
	switch kind {
	case "":
		g.pass.ServeHTTP(head, r)
	case "cut":
		head.wrote(0)
		panic(http.ErrAbortHandler)
	case "lost":
		g.pass.ServeHTTP(&lost{header: http.Header{}}, r)
		head.wrote(0)
		panic(http.ErrAbortHandler)
	default:
		refuse(head, kind)
	}
}

// refuse answers as the API server would.
func refuse(w http.ResponseWriter, kind string) {
	answers := map[string]struct {
		code           int
		reason, detail string
	}{
		"409": {409, "Conflict", "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and try again"},
		"422": {422, "Invalid", "the server rejected our request due to an error in our request"},
		"429": {429, "TooManyRequests", "too many requests, please try again later"},
		"500": {500, "InternalError", "Internal error occurred: etcdserver: leader changed"},
		"503": {503, "ServiceUnavailable", "apiserver is shutting down"},
	}
	a := answers[kind]
	w.Header().Set("Content-Type", "application/json")
	if kind == "429" {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(a.code)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"reason":%q,"code":%d}`, a.detail, a.reason, a.code)
}

// heading notes when the head of an answer is written.
type heading struct {
	http.ResponseWriter
	wrote func(status int)
	done  bool
}

func (h *heading) WriteHeader(status int) {
	if !h.done {
		h.done = true
		h.wrote(status)
	}
	h.ResponseWriter.WriteHeader(status)
}

func (h *heading) Write(b []byte) (int, error) {
	if !h.done {
		h.WriteHeader(http.StatusOK)
	}
	return h.ResponseWriter.Write(b)
}

// Hijack gives the connection to a stream.
func (h *heading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !h.done {
		h.done = true
		h.wrote(http.StatusSwitchingProtocols)
	}
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

// Unwrap lets the proxy flush.
func (h *heading) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// lost takes an answer that nobody will get.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) Write(b []byte) (int, error) { return len(b), nil }
func (l *lost) WriteHeader(int)             {}

// was lists the calls that passed, in the order in which they began.
func (g *gate) was() []call {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := slices.Clone(g.calls)
	slices.SortFunc(out, func(a, b call) int { return a.Start.Compare(b.Start) })
	return out
}
