package cluster

import (
	"context"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
)

// AuditHeader is accepted from the client verbatim and stands in the API server's audit
// log (k8s.io/apiserver, endpoints/filters/audit_init.go).
const AuditHeader = "Audit-ID"

type auditKey struct{}

type auditTrail struct {
	mu  sync.Mutex
	ids []string
}

// WithAudit gives a context, and a function that answers the Audit-IDs of the requests
// made with it so far, in order of sending. An outer trail sees the inner one's IDs too.
func WithAudit(ctx context.Context) (context.Context, func() []string) {
	outer, _ := ctx.Value(auditKey{}).([]*auditTrail)
	t := &auditTrail{}
	trails := append(append([]*auditTrail{}, outer...), t)
	return context.WithValue(ctx, auditKey{}, trails), func() []string {
		t.mu.Lock()
		defer t.mu.Unlock()
		return append([]string(nil), t.ids...)
	}
}

// auditor sets a fresh Audit-ID on every request, retries included, and reads the
// server's clock off every answer.
type auditor struct {
	next  http.RoundTripper
	clock *clock
	sent  *ledger
}

// RoundTrip implements http.RoundTripper; the request is not altered.
func (a *auditor) RoundTrip(r *http.Request) (*http.Response, error) {
	id := string(uuid.NewUUID())
	r2 := r.Clone(r.Context())
	r2.Header.Set(AuditHeader, id)
	a.sent.saw(r, id)
	trails, _ := r.Context().Value(auditKey{}).([]*auditTrail)
	for _, t := range trails {
		t.mu.Lock()
		t.ids = append(t.ids, id)
		t.mu.Unlock()
	}
	sent := time.Now()
	resp, err := a.next.RoundTrip(r2)
	if err == nil && a.clock != nil {
		a.clock.saw(sent, time.Now(), resp.Header.Get("Date"))
	}
	if err == nil {
		warned(r.Context(), resp.Header)
	}
	return resp, err
}

// WrappedRoundTripper lets client-go find the transport under this one.
func (a *auditor) WrappedRoundTripper() http.RoundTripper { return a.next }

// clock narrows the offset of the server's clock down from one answer to the next:
// each Date header (one second wide) bounds it from both sides.
type clock struct {
	mu     sync.Mutex
	lo, hi time.Duration
	known  bool
}

func (k *clock) saw(sent, got time.Time, header string) {
	date, err := http.ParseTime(header)
	if err != nil {
		return
	}
	sent, got = sent.Round(0), got.Round(0) // wall clock: that is what is compared
	lo, hi := date.Sub(got), date.Add(time.Second).Sub(sent)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known {
		lo, hi = max(lo, k.lo), min(hi, k.hi)
	}
	if lo > hi { // a clock was set in between: begin anew
		lo, hi = date.Sub(got), date.Add(time.Second).Sub(sent)
	}
	k.lo, k.hi, k.known = lo, hi, true
}

// ClockOffset is how far the API server's clock is ahead of ours, give or take err, from
// the Date headers (RFC 9110, section 6.6.1) of all answers so far; false before the first.
func (c *Conn) ClockOffset() (offset, err time.Duration, ok bool) {
	if c.clock == nil {
		return 0, 0, false
	}
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	return (c.clock.lo + c.clock.hi) / 2, (c.clock.hi - c.clock.lo) / 2, c.clock.known
}
