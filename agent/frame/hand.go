package frame

import (
	"context"
	"errors"
	"io"
	"time"

	"irkit.dev/irkit/agent"
)

type none struct{}

// Lifting names the case whose cut is lifted.
type Lifting struct {
	Case string `json:"case"`
}

// Open is agent.Hand's. When the cut fails, what was found before it is returned too.
func (c *Client) Open(ctx context.Context, o agent.Opening) (agent.Opened, error) {
	var r agent.Opened
	err := c.call(ctx, VerbOpen, o, &r, nil)
	return r, err
}

// Measure is agent.Hand's.
func (c *Client) Measure(ctx context.Context, m agent.Measurement) (agent.Measured, error) {
	var r agent.Measured
	err := c.call(ctx, VerbMeasure, m, &r, nil)
	return r, err
}

// Lift is agent.Hand's.
func (c *Client) Lift(ctx context.Context, caseID string) error {
	return c.call(ctx, VerbLift, Lifting{Case: caseID}, nil, nil)
}

// Know is agent.Hand's.
func (c *Client) Know(ctx context.Context, k agent.Known) error {
	return c.call(ctx, VerbKnow, k, nil, nil)
}

// Collect is agent.Hand's. An error of add ends it; to go on with the next artifact
// after one that was truncated, add returns nil.
func (c *Client) Collect(ctx context.Context, r agent.Request, add func(agent.Header, io.Reader) error) error {
	return c.call(ctx, VerbCollect, r, nil, add)
}

// Describe is agent.Hand's.
func (c *Client) Describe(ctx context.Context) (agent.Identity, error) {
	var r agent.Identity
	err := c.call(ctx, VerbDescribe, none{}, &r, nil)
	return r, err
}

// Close is agent.Hand's. It waits for a call that is under way only to end the worker.
func (c *Client) Close(ctx context.Context, end bool) error {
	var err error
	if end {
		if err = c.call(ctx, VerbEnd, none{}, nil, nil); errors.Is(err, agent.ErrGone) {
			err = nil
		}
	}
	wait, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = c.link.settle(wait) // a worker that is not told keeps the frames until it ends
	c.shut(errClosed)
	return err
}
