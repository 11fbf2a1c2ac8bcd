// Package forward carries loopback connections from the machine into the lab's
// network namespace, so that a client outside needs to know nothing of it.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Pair says which address outside leads to which address inside.
type Pair struct{ Outside, Inside string }

// Run listens on every outside address, which must be loopback, and dials the
// inside ones from the network namespace at the given path. It returns when one
// of the listeners fails or the context ends.
func Run(ctx context.Context, namespace string, pairs []Pair) error {
	dialer := &dialer{namespace: namespace}
	ended := make(chan error, len(pairs))
	for _, pair := range pairs {
		host, _, err := net.SplitHostPort(pair.Outside)
		if err != nil {
			return err
		}
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			return fmt.Errorf("refusing to listen on %s: not a loopback address", pair.Outside)
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", pair.Outside)
		if err != nil {
			return fmt.Errorf("cannot listen on the machine's loopback: %w", err)
		}
		context.AfterFunc(ctx, func() { listener.Close() })
		go func() { ended <- serve(listener, pair.Inside, dialer) }()
	}
	return <-ended
}

func serve(listener net.Listener, inside string, d *dialer) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			far, err := d.dial(inside)
			if err != nil {
				return // the client sees a closed connection, as of a closed port
			}
			defer far.Close()
			join(connection.(*net.TCPConn), far.(*net.TCPConn))
		}()
	}
}

// join copies both ways, and passes each side's end of speech on to the other.
func join(a, b *net.TCPConn) {
	var both sync.WaitGroup
	for _, way := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		both.Go(func() {
			if _, err := io.Copy(way[1], way[0]); err != nil && !errors.Is(err, net.ErrClosed) {
				way[0].Close()
				way[1].Close()
				return
			}
			_ = way[1].CloseWrite() // fails when that side is gone already
		})
	}
	both.Wait()
}

// dialer makes connections that belong to another network namespace. A socket
// keeps the namespace of the thread that made it.
type dialer struct{ namespace string }

func (d *dialer) dial(address string) (net.Conn, error) {
	entered := make(chan error, 1)
	var connection net.Conn
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with us
		connection = nil
		if err := enter(d.namespace); err != nil {
			entered <- err
			return
		}
		var err error
		connection, err = net.DialTimeout("tcp", address, 5*time.Second)
		entered <- err
	}()
	err := <-entered
	return connection, err
}

func enter(namespace string) error {
	file, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
}
