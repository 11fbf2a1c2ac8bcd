package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// ErrReplaced says that the target is not there any more: no pod of the name, or one
// with another UID. Nothing may be written to what stands there now.
var ErrReplaced = errors.New("target is gone or was replaced")

// ErrAmbiguous says that more than one pod was meant.
var ErrAmbiguous = errors.New("more than one pod")

type hintError struct {
	error
	hint string
}

func (h *hintError) Unwrap() error { return h.error }

// Hint is what a person can do about it.
func (h *hintError) Hint() string { return h.hint }

func hinted(err error, hint string) error { return &hintError{error: err, hint: hint} }

// Hint is what a person can do about err; empty: nothing is known.
func Hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

type flat struct {
	text string
	err  error
}

func (f *flat) Error() string { return f.text }
func (f *flat) Unwrap() error { return f.err }

// oneLine keeps an error's identity and folds its text to one line.
func oneLine(err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	text = strings.TrimPrefix(text, "invalid configuration: ")
	return &flat{text: strings.TrimSuffix(text, "."), err: err}
}

// Explain says in one line, with a hint, why a request did not come through; what it
// does not know it only folds to one line. nil stays nil.
func (c *Conn) Explain(did string, err error) error {
	if err == nil {
		return nil
	}
	var ne net.Error
	var ue *url.Error
	var ca x509.UnknownAuthorityError
	var host x509.HostnameError
	line := fmt.Errorf("%s: %w", did, oneLine(err))
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, ErrReplaced):
		return line
	case apierrors.IsUnauthorized(err):
		return hinted(fmt.Errorf("%s: %s does not know these credentials: %w", did, c.Cluster, oneLine(err)),
			"they may have run out; log in again, or choose another --context")
	case apierrors.IsForbidden(err):
		return hinted(line, "see what is missing, and the YAML that grants it: irkit rbac")
	case errors.As(err, &ca), errors.As(err, &host):
		return hinted(fmt.Errorf("%s: certificate of %s is not trusted: %w", did, c.Cluster, oneLine(err)),
			"is this the right --context for that cluster?")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne), errors.As(err, &ue):
		return hinted(fmt.Errorf("%s: cannot reach %s: %w", did, c.Cluster, oneLine(err)),
			"is the cluster up, and is the VPN? the address comes from context "+fmt.Sprintf("%q", c.Context))
	}
	return line
}
