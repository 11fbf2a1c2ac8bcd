package objectstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"irkit.dev/irkit/evidence"
)

// Errors by which a caller decides.
var (
	// ErrUnreachable says that the store did not answer, or only that it cannot now, after
	// all tries. The same call later may pass.
	ErrUnreachable = errors.New("store is out of reach")
	// ErrRefused says that the store answered, and will answer the same again.
	ErrRefused = errors.New("store refuses")
	// ErrNotLocked says that a lock was asked for and could not be read back.
	ErrNotLocked = errors.New("lock is not in force")
)

const (
	tries     = 3 // of a request that did not get through
	conflicts = 8 // of one that met another writer of the same key (409)
)

// try calls op until it gets through, is refused, or was tried often enough, and
// explains its error.
func (s *Store) try(ctx context.Context, op func() error) error {
	failed, met := 0, 0
	for {
		err := explain(ctx, op())
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.Is(err, ErrUnreachable):
			failed++
		case conflict(err):
			met++
		default:
			return err
		}
		if failed == tries || met == conflicts {
			return err
		}
		pause := s.cfg.patience() / 60 << (failed + met/4) // 250 ms, 500 ms, …
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return explain(ctx, ctx.Err())
		}
	}
}

// sourceError is a fault of the file that was to be sent; trying again does not help.
type sourceError struct{ error }

func (s sourceError) Unwrap() error { return s.error }

// answer is an error that the store itself gave.
type answer struct {
	minio.ErrorResponse
	means error
}

func (a answer) Error() string {
	return fmt.Sprintf("%s: %s", a.means, strconv.QuoteToASCII(strings.TrimSpace(a.Code+" "+a.Message)))
}
func (a answer) Unwrap() error { return a.means }

func errorCode(err error) string {
	var a answer
	if errors.As(err, &a) {
		return a.Code
	}
	return ""
}

func conflict(err error) bool {
	code := errorCode(err)
	return code == "ConditionalRequestConflict" || code == "OperationAborted" || code == "Conflict"
}

// explain says what an error of the client means to a caller.
func explain(ctx context.Context, err error) error {
	var (
		src     sourceError
		told    minio.ErrorResponse
		known   answer
		at      *url.Error
		unknown *tls.CertificateVerificationError
		record  tls.RecordHeaderError
	)
	switch {
	case err == nil || errors.As(err, &known) || errors.Is(err, ErrUnreachable) || errors.As(err, &src):
		return err
	case errors.As(err, &told):
		if hint := hints[told.Code]; hint != "" {
			return hinted{answer{told, meaning(told)}, hint}
		}
		return answer{told, meaning(told)}
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), ErrUnreachable):
		return fmt.Errorf("%w: no answer in time", ErrUnreachable)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrUnreachable, ctx.Err())
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if errors.As(err, &at) {
		err = at.Err // the address is in the text already
	}
	switch {
	case errors.As(err, &unknown):
		return hinted{fmt.Errorf("certificate is not trusted: %w: %w", ErrRefused, unknown.Err), "name the authority's PEM file with IRKIT_S3_CA"}
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%w: what answers there speaks no TLS", ErrRefused)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// hints say what a person can do about what a store refuses.
var hints = map[string]string{
	"InvalidAccessKeyId":           "check AWS_ACCESS_KEY_ID, AWS_PROFILE and IRKIT_S3_ENDPOINT",
	"SignatureDoesNotMatch":        "check AWS_SECRET_ACCESS_KEY",
	"ExpiredToken":                 "the credentials have expired: get new ones",
	"RequestTimeTooSkewed":         "this machine's clock differs from the store's",
	"AuthorizationHeaderMalformed": "name the bucket's region with AWS_REGION",
	"PermanentRedirect":            "name the bucket's region with AWS_REGION",
	"AccessDenied":                 "needed are s3:PutObject and s3:GetObject; with a lock s3:PutObjectRetention and s3:GetObjectRetention, with a hold s3:PutObjectLegalHold and s3:GetObjectLegalHold",
}

func meaning(e minio.ErrorResponse) error {
	switch {
	case e.StatusCode >= 500 && e.StatusCode != http.StatusNotImplemented, e.StatusCode == http.StatusTooManyRequests, e.StatusCode == http.StatusRequestTimeout,
		strings.HasPrefix(e.Code, "SlowDown"), e.Code == "RequestTimeout":
		return ErrUnreachable
	case e.Code == "NoSuchKey", e.Code == "NoSuchVersion":
		return evidence.ErrNotFound
	}
	return ErrRefused
}

// transport connects with patience, and breaks what stands still.
func transport(c Config, secure bool) (*http.Transport, error) {
	dial := &net.Dialer{Timeout: c.patience() / 4, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return moving{conn, c.stall()}, nil
		},
		TLSHandshakeTimeout:   c.patience() / 4,
		ResponseHeaderTimeout: c.stall(),
		IdleConnTimeout:       c.stall() / 2,
		MaxIdleConnsPerHost:   16,
		DisableCompression:    true, // the stored bytes, not what they unpack to
	}
	if !secure {
		return t, nil
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read authority %s: %w", c.CAFile, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read authority %s: no certificate in it: %w", c.CAFile, fs.ErrInvalid)
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

// moving is a connection that fails when nothing moved on it, in either direction, for a while.
type moving struct {
	net.Conn
	limit time.Duration
}

func (m moving) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	m.extend(n)
	return n, err
}

func (m moving) Write(b []byte) (int, error) {
	m.extend(1)
	n, err := m.Conn.Write(b)
	m.extend(n)
	return n, err
}

func (m moving) extend(n int) {
	if n > 0 {
		_ = m.SetDeadline(time.Now().Add(m.limit)) // a closed connection tells by itself
	}
}
