package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// Client speaks with a running node over its socket.
type Client struct{ Socket string }

// Start runs a daemon. It returns once the program has been executed, not when
// it is ready; a name that runs already is an error.
func (c Client) Start(ctx context.Context, d Daemon) error {
	_, err := c.ask(ctx, request{Start: &d})
	return err
}

// Stop ends a daemon, with SIGTERM and then SIGKILL, and forgets it.
func (c Client) Stop(ctx context.Context, name string) error {
	_, err := c.ask(ctx, request{Stop: name})
	return err
}

// List answers every daemon that was started, in the order of starting.
func (c Client) List(ctx context.Context) ([]Process, error) {
	return c.ask(ctx, request{})
}

func (c Client) ask(ctx context.Context, r request) ([]Process, error) {
	connection, err := (&net.Dialer{}).DialContext(ctx, "unix", c.Socket)
	if err != nil {
		return nil, fmt.Errorf("the node does not answer: %w", err)
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(15 * time.Second))
	if err := json.NewEncoder(connection).Encode(r); err != nil {
		return nil, fmt.Errorf("the node does not listen: %w", err)
	}
	var a answer
	if err := json.NewDecoder(connection).Decode(&a); err != nil {
		return nil, fmt.Errorf("the node gave no answer: %w", err)
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	return a.Processes, nil
}
