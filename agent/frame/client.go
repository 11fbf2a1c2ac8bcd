package frame

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"irkit.dev/irkit/agent"
)

// Dialer opens one connection to the worker. Its Close must end a Read and a Write
// that wait. An error that wraps agent.ErrGone ends the hand at once.
type Dialer func(ctx context.Context) (io.ReadWriteCloser, error)

// ClientOptions bound a Client. Zero values are the protocol's own.
type ClientOptions struct {
	Beat      time.Duration // 10 s
	Dead      time.Duration // without a frame from the worker; 3.5 beats
	Handshake time.Duration // 30 s
	Grace     time.Duration // without a connection until agent.ErrGone; 2 min
	Backoff   time.Duration // before the second try; doubled up to 5 s; 100 ms
	// Broken is told of every connection that ended, and of every try that failed.
	Broken func(error)
}

func (o ClientOptions) orDefaults() ClientOptions {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&o.Handshake, 30 * time.Second}, {&o.Grace, 2 * time.Minute}, {&o.Backoff, 100 * time.Millisecond}} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if o.Broken == nil {
		o.Broken = func(error) {}
	}
	return o
}

// Client is irkit's side: an agent.Hand over connections that come and go.
type Client struct {
	opt  ClientOptions
	dial Dialer
	key  ed25519.PrivateKey
	id   []byte
	link *link
	stop context.CancelFunc
	gone chan struct{} // closed when the connecting goroutine has ended

	first     chan struct{} // closed at the first connection, or when there will be none
	firstOnce sync.Once

	turn   chan struct{} // holds a token while nobody is calling
	calls  uint64
	coder  coder
	pushed *message
}

var _ agent.Hand = (*Client)(nil)

// Connect dials the worker and attaches to it, trying again within the grace, and
// keeps the connection up until Close. It outlives ctx, which bounds only the wait
// for the first connection.
func Connect(ctx context.Context, dial Dialer, key ed25519.PrivateKey, o ClientOptions) (*Client, error) {
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &Client{
		opt: o.orDefaults(), dial: dial, key: key, id: nonce(),
		link: newLink(timing{beat: o.Beat, dead: o.Dead}), stop: stop,
		gone: make(chan struct{}), first: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	c.turn <- struct{}{}
	go c.keep(life)
	select {
	case <-ctx.Done():
		c.shut(ctx.Err())
		return nil, fmt.Errorf("attach to hand: %w", ctx.Err())
	case <-c.first:
	}
	if err := c.link.over(); err != nil {
		c.shut(err)
		return nil, fmt.Errorf("attach to hand: %w", err)
	}
	return c, nil
}

// keep holds one connection after the other until the hand is closed or gone.
func (c *Client) keep(ctx context.Context) {
	defer close(c.gone)
	defer c.connected()
	var pinned []byte
	fresh := true
	last := time.Now()
	for wait := c.opt.Backoff; ; {
		worked, err := c.once(ctx, &pinned, &fresh)
		if ctx.Err() != nil || c.link.over() != nil {
			c.link.fail(context.Cause(ctx))
			return
		}
		c.opt.Broken(err)
		if worked {
			last, wait = time.Now(), c.opt.Backoff
		}
		final := errors.Is(err, agent.ErrGone) || errors.Is(err, errForgotten) || errors.Is(err, errResume)
		if final || time.Since(last)+wait > c.opt.Grace {
			c.link.fail(fmt.Errorf("%w: %w", agent.ErrGone, err))
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

func (c *Client) once(ctx context.Context, pinned *[]byte, fresh *bool) (worked bool, err error) {
	rw, err := c.dial(ctx)
	if err != nil {
		return false, err
	}
	cn := newConn(rw)
	var h hello
	var w welcome
	err = within(cn, c.opt.Handshake, func() (err error) {
		h, w, err = greet(cn, c.key, *pinned, attach{Session: c.id, Fresh: *fresh, Received: c.link.position()})
		return err
	})
	if err != nil {
		_ = cn.Close()
		return false, err
	}
	*pinned = h.Key
	// A welcome that was lost on its way leaves the worker with our session begun and
	// nothing in it: asking afresh again is answered as known, from the start.
	*fresh = false
	c.connected()
	began, before := time.Now(), c.link.progress()
	err = c.link.attach(cn, w.Received)
	return c.link.progress() != before || time.Since(began) >= c.link.beat, err
}

func (c *Client) connected() { c.firstOnce.Do(func() { close(c.first) }) }

func (c *Client) shut(err error) {
	c.link.fail(err)
	c.stop()
	<-c.gone
}

// progress changes whenever a numbered frame got through, either way.
func (l *link) progress() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.received + l.acked
}

func (l *link) over() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
