package worker

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Relay copies between in and out, which are exec's streams, and the worker's socket,
// and does nothing else. It ends when in ends, or the worker closes: exec does not end
// what it started when its client goes away (kubernetes issue 89031). A socket that
// another program holds is refused, before anything is said to it.
func Relay(ctx context.Context, key ed25519.PublicKey, in io.Reader, out io.Writer) error {
	c, err := reach(ctx, key)
	if err != nil {
		return fmt.Errorf("reach the worker: %w", err)
	}
	defer c.Close()
	if err := checkPeer(c); err != nil {
		return fmt.Errorf("reach the worker: %w", err)
	}
	return relay(c, in, out)
}

// reach dials a worker that may only just be starting.
func reach(ctx context.Context, key ed25519.PublicKey) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var d net.Dialer
	for addr := socketName(key); ; {
		c, err := d.DialContext(ctx, addr.Net, addr.Name)
		if err == nil || !errors.Is(err, unix.ECONNREFUSED) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func relay(c io.ReadWriteCloser, in io.Reader, out io.Writer) error {
	errs := make(chan error, 2)
	go func() {
		_, err := io.Copy(c, in)
		errs <- err
	}()
	go func() {
		_, err := io.Copy(out, c)
		errs <- err
	}()
	// The other copy ends with the process: in may be a pipe that nobody closes.
	return <-errs
}
