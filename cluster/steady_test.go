package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// script is a server and a clock: each try takes the next answer, the last one for ever.
type script struct {
	answers []string // "200", "429 7" with a Retry-After, "refused", "eof"
	bodies  []string
	waited  []time.Duration
	at      time.Time
	tries   int
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		s.bodies = append(s.bodies, string(b))
	}
	a := s.answers[min(s.tries, len(s.answers)-1)]
	s.tries++
	switch a {
	case "refused":
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	case "eof":
		return nil, io.ErrUnexpectedEOF
	}
	var code, after int
	n, _ := fmt.Sscan(a, &code, &after)
	resp := &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}
	if n == 2 {
		resp.Header.Set("Retry-After", fmt.Sprint(after))
	}
	return resp, nil
}

func (s *script) steady() *steady {
	return &steady{s, &health{
		notice: func(string) {}, now: func() time.Time { return s.at },
		sleep: func(ctx context.Context, d time.Duration) error {
			s.waited = append(s.waited, d)
			s.at = s.at.Add(d)
			return ctx.Err()
		},
	}}
}

func (s *script) sum() (all time.Duration) {
	for _, d := range s.waited {
		all += d
	}
	return all
}

func TestSteadyAsksAgainOnlyWhereThatIsHarmless(t *testing.T) {
	const pod, policies = "/api/v1/namespaces/n/pods/p", "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies"
	for name, c := range map[string]struct {
		method, path string
		answers      string
		tries        int    // 0: many
		end          string // status, or what the error is
	}{
		"a read after an error of the server":       {"GET", pod, "500,503,200", 3, "200"},
		"a read that never works":                   {"GET", pod, "500", asked, "500"},
		"a read after a broken connection":          {"GET", pod, "eof,eof,200", 3, "200"},
		"a read that is refused":                    {"GET", pod, "403", 1, "403"},
		"a question about rights":                   {"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "500,201", 2, "201"},
		"a dry run":                                 {"POST", policies + "?dryRun=All", "500,201", 2, "201"},
		"a write whose outcome is not known: 500":   {"POST", policies, "500,201", 1, "500"},
		"a write whose outcome is not known: broke": {"PATCH", pod, "eof,200", 1, "unexpected EOF"},
		"a write that was not made: 429":            {"PATCH", pod, "429 1,200", 2, "200"},
		"a write that was not made: no connection":  {"PATCH", pod, "refused,refused,200", 3, "200"},
		"a write that lost a race":                  {"PATCH", pod, "409,200", 1, "409"},
		"a server that is busy for an hour":         {"GET", pod, "429 3600,200", 1, "429"},
		"a stream":                                  {"GET", pod + "/exec", "500,101", 1, "500"},
		"a server that has just come up":            {"PATCH", pod, "refused,403,403,200", 4, "200"},
		"a server that has come up long since":      {"GET", pod, "eof,403", 0, "403"},
		"a server that never comes back":            {"GET", pod, "eof", 0, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{answers: strings.Split(c.answers, ","), at: time.Unix(1, 0)}
			h := s.steady()
			h.answered = true
			r, err := http.NewRequestWithContext(t.Context(), c.method, "https://c"+c.path, strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := h.RoundTrip(r)
			end := fmt.Sprint(err)
			if err == nil {
				end = fmt.Sprint(resp.StatusCode)
				_ = resp.Body.Close()
				if resp.StatusCode >= 400 && resp.Header.Get("Retry-After") != "" {
					t.Error("client-go would wait once more")
				}
			}
			if end != c.end || c.tries > 0 && s.tries != c.tries || c.tries == 0 && s.tries < 10 {
				t.Errorf("%d tries, want %d; ended with %s, want %s", s.tries, c.tries, end, c.end)
			}
			for _, b := range s.bodies {
				if b != "body" {
					t.Errorf("a try had the body %q", b)
				}
			}
			if s.sum() > outage+warming {
				t.Errorf("waited %s", s.sum())
			}
		})
	}
}

func get(ctx context.Context, s *steady) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://c/api", nil)
	if err != nil {
		return err
	}
	resp, err := s.RoundTrip(r)
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

func TestSteadyHeedsRetryAfter(t *testing.T) {
	s := &script{answers: []string{"429 7", "503 3", "200"}}
	if err := get(t.Context(), s.steady()); err != nil || len(s.waited) != 2 || s.waited[0] != 7*time.Second || s.waited[1] != 3*time.Second {
		t.Errorf("%v, waited %s", err, s.waited)
	}
}

// A server that has never answered is not waited for: it may be the wrong address. And one
// that was waited for in vain is not waited for again with every request.
func TestSteadyIsPatientOnce(t *testing.T) {
	s := &script{answers: []string{"refused"}}
	h := s.steady()
	if err := get(t.Context(), h); err == nil || s.tries != 1 || len(s.waited) > 0 {
		t.Errorf("never answered: %v after %d tries", err, s.tries)
	}
	s = &script{answers: []string{"200", "eof"}, at: time.Unix(1, 0)}
	h = s.steady()
	if err := errors.Join(get(t.Context(), h), get(t.Context(), h)); err == nil || s.sum() < outage/2 {
		t.Errorf("%v, waited %s", err, s.sum())
	}
	tries, waited := s.tries, s.sum()
	if err := get(t.Context(), h); err == nil || s.tries != tries+1 || s.sum() != waited {
		t.Errorf("it was waited for again: %d tries more", s.tries-tries)
	}
}

// Whoever interrupts is not made to wait.
func TestSteadyEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &script{answers: []string{"eof"}}
	h := s.steady()
	h.answered = true
	if err := get(ctx, h); err == nil || s.tries != 1 {
		t.Errorf("%v after %d tries", err, s.tries)
	}
}

func TestPersistLooksAgain(t *testing.T) {
	gr := schema.GroupResource{Resource: "pods"}
	final := apierrors.NewForbidden(gr, "p", errors.New("no"))
	for name, c := range map[string]struct {
		errs []error
		want int
	}{
		"done":              {[]error{nil}, 1},
		"forbidden":         {[]error{final}, 1},
		"lost the answer":   {[]error{io.ErrUnexpectedEOF, nil}, 2},
		"lost a race":       {[]error{apierrors.NewConflict(gr, "p", errors.New("x")), nil}, 2},
		"is there already":  {[]error{apierrors.NewAlreadyExists(gr, "p")}, 1},
		"an internal error": {[]error{apierrors.NewInternalError(errors.New("x")), final}, 2},
		"never":             {[]error{apierrors.NewInternalError(errors.New("x"))}, persists},
		"too busy":          {[]error{apierrors.NewTooManyRequests("x", 1)}, 1},
		"given up":          {[]error{context.Canceled}, 1},
	} {
		n := 0
		err := Persist(t.Context(), func() error {
			n++
			return c.errs[min(n, len(c.errs))-1]
		})
		if n != c.want || !errors.Is(err, c.errs[len(c.errs)-1]) {
			t.Errorf("%s: %d calls, want %d; %v", name, n, c.want, err)
		}
	}
}
