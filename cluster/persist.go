package cluster

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// persists is how often a write is begun anew.
const persists = 6

// Transient reports an answer, or the lack of one, after which the same call may succeed.
// Of a write it is then not known whether it was made: who writes again looks first.
func Transient(err error) bool {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case apierrors.IsTooManyRequests(err), apierrors.IsServerTimeout(err), apierrors.IsInternalError(err),
		apierrors.IsServiceUnavailable(err), apierrors.IsTimeout(err), apierrors.IsUnexpectedServerError(err):
		return true
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status.Status().Code >= 500
	}
	var ne net.Error
	var ue *url.Error
	return errors.As(err, &ne) || errors.As(err, &ue) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// Persist calls do until its answer is final, waiting a little longer each time: at most
// six times while the answer is Transient or, where the object changed between do's
// reading and its writing, a conflict (409). A server that is too busy (429) was waited
// for by the connection already. do must be harmless when the call before it
// was made after all: it reads before it writes, or its write cannot be made twice.
func Persist(ctx context.Context, do func() error) error {
	for n := 1; ; n++ {
		err := do()
		if n == persists || apierrors.IsTooManyRequests(err) || !Transient(err) && !apierrors.IsConflict(err) {
			return err
		}
		if pause(ctx, min(time.Duration(20*n*n)*time.Millisecond, time.Second)) != nil {
			return err
		}
	}
}
