package cluster

import (
	"context"
	"net/http"
	"slices"
	"sync"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

type warnedKey struct{}

type warningTrail struct {
	mu    sync.Mutex
	texts []string
}

// WithWarnings gives a context, and a function that answers what the API server warned of
// in the answers to requests made with it, each text once. The connection's own handler is
// told too.
func WithWarnings(ctx context.Context) (context.Context, func() []string) {
	t := &warningTrail{}
	return context.WithValue(ctx, warnedKey{}, t), func() []string {
		t.mu.Lock()
		defer t.mu.Unlock()
		return slices.Clone(t.texts)
	}
}

// warned keeps the warnings of one answer (RFC 7234, section 5.5: code 299).
func warned(ctx context.Context, h http.Header) {
	t, ok := ctx.Value(warnedKey{}).(*warningTrail)
	if !ok {
		return
	}
	all, _ := utilnet.ParseWarningHeaders(h["Warning"]) // one that cannot be read is the server's fault, and no warning
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range all {
		if w.Code == 299 && w.Text != "" && !slices.Contains(t.texts, w.Text) {
			t.texts = append(t.texts, w.Text)
		}
	}
}
