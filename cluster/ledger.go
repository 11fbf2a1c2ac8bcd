package cluster

import (
	"net/http"
	"slices"
	"strings"
	"sync"
)

// ledger holds the Audit-IDs of what a connection sent and that changes, or runs, something.
type ledger struct {
	mu  sync.Mutex
	ids []string
}

// Sent gives the Audit-IDs, in order of sending, of all requests of the connection so far
// that write, or that run something in a container, whatever context they were made with.
// Dry runs and reviews (of access, of ourselves), which leave nothing behind, are left out.
// A connection made of fake clients has none.
func (c *Conn) Sent() []string {
	if c.sent == nil {
		return nil
	}
	c.sent.mu.Lock()
	defer c.sent.mu.Unlock()
	return slices.Clone(c.sent.ids)
}

func (l *ledger) saw(r *http.Request, id string) {
	if l == nil || !leaves(r) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ids = append(l.ids, id)
}

// leaves reports a request that leaves something behind. Streams into a container are asked
// for by GET where they run over WebSockets.
func leaves(r *http.Request) bool {
	path := strings.TrimSuffix(r.URL.Path, "/")
	last := path[strings.LastIndex(path, "/")+1:]
	switch r.Method {
	case http.MethodGet:
		_, pod, _ := strings.Cut(path, "/pods/")
		return strings.Contains(pod, "/") && (last == "exec" || last == "attach" || last == "portforward")
	case http.MethodHead, http.MethodOptions:
		return false
	}
	review := strings.HasPrefix(last, "self") && strings.HasSuffix(last, "reviews") ||
		last == "subjectaccessreviews" || last == "localsubjectaccessreviews" || last == "tokenreviews"
	return !review && len(r.URL.Query()["dryRun"]) == 0
}
