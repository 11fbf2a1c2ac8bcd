package collectortest

import (
	"context"
	"errors"
	"io"

	"irkit.dev/irkit/evidence"
)

var errFull = errors.New("no space left on device")

// fullSink keeps nothing.
type fullSink struct{}

func (fullSink) Add(context.Context, evidence.Artifact, io.Reader) (evidence.Entry, error) {
	return evidence.Entry{}, errFull
}
