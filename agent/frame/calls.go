package frame

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"irkit.dev/irkit/agent"
)

// maxReply bounds the answer of a call: a table of flows can have many lines.
const maxReply = 64 << 20

var errClosed = errors.New("hand was closed")

// call makes one call in its turn. add gets its artifacts; reply, when not nil, its
// answer, also when the call fails after answering.
func (c *Client) call(ctx context.Context, verb string, body, reply any, add func(agent.Header, io.Reader) error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.turn:
	}
	defer func() { c.turn <- struct{}{} }()
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("ask hand for %s: %w", verb, err)
	}
	c.calls++
	call := c.calls
	if err := c.say(ctx, control{Op: opCall, Call: call, Verb: verb, Body: b}); err != nil {
		return fmt.Errorf("ask hand for %s: %w", verb, err)
	}
	for {
		over, err := c.step(ctx, call, verb, reply, add)
		var remote *RemoteError
		switch {
		case errors.As(err, &remote) && over:
			return err
		case err != nil:
			c.abandon(call)
			return fmt.Errorf("ask hand for %s: %w", verb, err)
		case over:
			return nil
		}
	}
}

// abandon tells the worker to stop. What of the call is still on its way is passed over
// by the calls that follow. With a full window or no worker there is nobody to tell.
func (c *Client) abandon(call uint64) {
	b, err := json.Marshal(control{Op: opCancel, Call: call})
	if err == nil {
		_, _ = c.link.offer(Frame{Kind: Control, Raw: uint32(len(b)), Wire: b})
	}
}

func (c *Client) step(ctx context.Context, call uint64, verb string, reply any, add func(agent.Header, io.Reader) error) (over bool, err error) {
	m, err := c.next(ctx)
	if err != nil {
		return false, err
	}
	c.link.consume(m.Frame)
	switch {
	case m.Kind != Control || m.control.Call < call: // of a call that was given up
		return false, nil
	case m.control.Call > call:
		err := fmt.Errorf("worker answers call %d, asked was %d: %w", m.control.Call, call, ErrProtocol)
		c.link.fail(err)
		return false, err
	}
	switch m.control.Op {
	case opDone:
		return true, m.control.Fault.err(verb)
	case opOpen:
		s := newStream(ctx, c, call, m.control.Stream)
		if m.control.Reply {
			return false, s.decode(reply)
		}
		return false, c.artifact(m.control.Header, s, add)
	}
	err = fmt.Errorf("worker says %q: %w", clean(m.control.Op, 32), ErrProtocol)
	c.link.fail(err)
	return false, err
}

func (c *Client) artifact(h *agent.Header, s *stream, add func(agent.Header, io.Reader) error) error {
	if err := checkHeader(h); err != nil {
		c.link.fail(err)
		return err
	}
	if add == nil {
		return fmt.Errorf("artifact %s, not asked for: %w", h.Kind, ErrProtocol)
	}
	if h.Absent != nil {
		h.Absent.Reason = clean(h.Absent.Reason, 4096)
		return add(*h, nil)
	}
	if err := add(*h, s); err != nil {
		return err
	}
	s.drain()
	return nil
}

func (s *stream) decode(reply any) error {
	b, err := io.ReadAll(io.LimitReader(s, maxReply+1))
	switch {
	case err != nil:
		return err
	case len(b) > maxReply:
		return fmt.Errorf("answer of more than %d bytes: %w", maxReply, ErrProtocol)
	case reply == nil:
		return nil
	}
	if err := json.Unmarshal(b, reply); err != nil {
		return fmt.Errorf("answer: %w: %w", ErrProtocol, err)
	}
	return nil
}
