package frame

import (
	"context"
	"encoding/json"
	"fmt"
)

// message is a frame with its payload unpacked.
type message struct {
	Frame
	payload []byte
	control control // of a Control frame
}

// next waits for the next message, or gives back the one that was pushed back. What
// a peer says wrongly ends the hand: a replay would bring the same.
func (c *Client) next(ctx context.Context) (message, error) {
	if m := c.pushed; m != nil {
		c.pushed = nil
		return *m, nil
	}
	f, err := c.link.recv(ctx)
	if err != nil {
		return message{}, err
	}
	m := message{Frame: f}
	if m.payload, err = c.coder.unpack(f); err == nil && f.Kind == Control {
		err = unmarshal(f, m.payload, &m.control)
	}
	if err != nil {
		c.link.fail(err)
		return message{}, err
	}
	return m, nil
}

func (c *Client) say(ctx context.Context, m control) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("ask hand: %w", err)
	}
	f, err := c.coder.pack(Frame{Kind: Control}, None, b)
	if err != nil {
		return fmt.Errorf("ask hand: %w", err)
	}
	return c.link.send(ctx, f)
}
