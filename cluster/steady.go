package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// How long one request is asked again.
const (
	// outage is how long an API server that answered before is waited for when it answers
	// no more: a restart takes seconds. After it every request is tried once.
	outage = 45 * time.Second
	// warming is how long after an outage a refusal is not believed: an API server that has
	// just started answers 403 until it has read the roles.
	warming = 15 * time.Second
	// busy is the longest Retry-After that is waited for; a server that asks for more is told
	// to the caller at once.
	busy = 20 * time.Second
	// asked is how often a request is made that is answered with an error of the server's.
	asked = 5
)

// steady asks again where that is harmless: what only reads, after every failure that may
// pass; a write only when the API server surely did not make it, which is a 429 or a
// connection that was never there. A write whose outcome is not known goes back to the
// caller, who has to look before writing again (Persist). Streams (exec) are left alone:
// what runs over them resumes by itself.
type steady struct {
	next http.RoundTripper
	*health
}

// health is what is known of one API server, over all transports to it.
type health struct {
	notice func(text string)
	now    func() time.Time
	sleep  func(context.Context, time.Duration) error

	mu       sync.Mutex
	answered bool      // the server has answered at least once
	told     bool      // that it is waited for, in this outage
	down     time.Time // since when it does not answer; zero: it does
	back     time.Time // when it answered again
}

// steadying wraps every transport of one connection.
func steadying(notice func(string)) func(http.RoundTripper) http.RoundTripper {
	if notice == nil {
		notice = func(string) {}
	}
	h := &health{notice: notice, now: time.Now, sleep: pause}
	return func(next http.RoundTripper) http.RoundTripper { return &steady{next, h} }
}

// RoundTrip implements http.RoundTripper.
func (s *steady) RoundTrip(r *http.Request) (*http.Response, error) {
	if streams(r) {
		return s.next.RoundTrip(r)
	}
	for n := 1; ; n++ {
		try, err := again(r, n)
		if err != nil {
			return nil, err
		}
		resp, err := s.next.RoundTrip(try)
		s.heard(r.Context(), err)
		wait, ok := s.wait(r, n, resp, err)
		if !ok {
			if resp != nil && resp.StatusCode >= 400 {
				resp.Header.Del("Retry-After") // it was heeded here; client-go would begin anew
			}
			return resp, err
		}
		if resp != nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
			_ = resp.Body.Close()
		}
		if err := s.sleep(r.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// WrappedRoundTripper lets client-go look through.
func (s *steady) WrappedRoundTripper() http.RoundTripper { return s.next }

// again is the n-th try of a request, with its body from the start.
func again(r *http.Request, n int) (*http.Request, error) {
	if n == 1 || r.Body == nil || r.Body == http.NoBody {
		return r, nil
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, fmt.Errorf("send %s %s again: %w", r.Method, r.URL.Path, err)
	}
	r = r.Clone(r.Context())
	r.Body = body
	return r, nil
}

// heard keeps whether the server answers.
func (s *health) heard(ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	switch {
	case err == nil:
		if !s.down.IsZero() {
			s.down, s.back, s.told = time.Time{}, now, false
		}
		s.answered = true
	case s.answered && s.down.IsZero() && ctx.Err() == nil:
		s.down = now
	}
}

// wait says whether a request is to be made again, and when.
func (s *health) wait(r *http.Request, n int, resp *http.Response, err error) (time.Duration, bool) {
	if r.Context().Err() != nil || r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
		return 0, false
	}
	s.mu.Lock()
	answered, down, back := s.answered, s.down, s.back
	s.mu.Unlock()
	step := min(time.Duration(50*n*n)*time.Millisecond, time.Second)
	if err != nil {
		unsent := errors.Is(err, syscall.ECONNREFUSED)
		if !answered || s.now().Sub(down) > outage || !harmless(r) && !unsent {
			return 0, false
		}
		if n >= 3 && s.first() {
			s.notice(fmt.Sprintf("the API server does not answer; waiting for it, at most %s", outage))
		}
		return step, true
	}
	switch {
	case resp.StatusCode == http.StatusTooManyRequests:
		after := retryAfter(resp, step)
		return after, n < asked && after <= busy
	case resp.StatusCode == http.StatusForbidden && !back.IsZero() && s.now().Sub(back) < warming:
		return step, true
	case harmless(r) && slices.Contains([]int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, resp.StatusCode):
		after := retryAfter(resp, step)
		return after, n < asked && after <= busy
	}
	return 0, false
}

// first is true once in an outage.
func (s *health) first() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := s.told
	s.told = true
	return !told
}

// retryAfter is what the server asks for, in seconds (RFC 9110, section 10.2.3), else other.
func retryAfter(resp *http.Response, other time.Duration) time.Duration {
	n, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31)
	if err != nil {
		return other
	}
	return max(time.Duration(n)*time.Second, other)
}

// harmless reports a request that leaves nothing behind, however often it is made.
func harmless(r *http.Request) bool {
	switch {
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
		return true
	case r.URL.Query().Get("dryRun") == "All":
		return true
	}
	switch path.Base(r.URL.Path) {
	case "selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews", "subjectaccessreviews":
		return r.Method == http.MethodPost // answered, never stored
	}
	return false
}

func streams(r *http.Request) bool {
	switch path.Base(r.URL.Path) {
	case "exec", "attach", "portforward":
		return true
	}
	return false
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
