package worker

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
)

// Relay copies between in and out, which are exec's streams, and the worker's socket,
// and does nothing else. It ends when in ends, or the worker closes: exec does not end
// what it started when its client goes away (kubernetes issue 89031). A socket that
// another program holds is refused, before anything is said to it.
func Relay(ctx context.Context, key ed25519.PublicKey, in io.Reader, out io.Writer) error {
	var d net.Dialer
	addr := socketName(key)
	c, err := d.DialContext(ctx, addr.Net, addr.Name)
	if err != nil {
		return fmt.Errorf("reach the worker: %w", err)
	}
	defer c.Close()
	if err := checkPeer(c); err != nil {
		return fmt.Errorf("reach the worker: %w", err)
	}
	return relay(c, in, out)
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
