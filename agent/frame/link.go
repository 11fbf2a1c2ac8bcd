package frame

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// errResume is a peer that asks for frames which are no longer, or never were, there.
var errResume = errors.New("peer cannot be resumed")

// timing is how a link finds out that its connection is dead.
type timing struct {
	beat time.Duration // a frame is sent at least this often
	dead time.Duration // without one from the peer the connection is given up
}

func (t timing) orDefaults() timing {
	if t.beat <= 0 {
		t.beat = 10 * time.Second
	}
	if t.dead <= 0 {
		t.dead = 3*t.beat + t.beat/2
	}
	return t
}

// conn is one connection, with what the handshake may have read ahead.
type conn struct {
	io.ReadWriteCloser
	br *bufio.Reader
}

func newConn(rw io.ReadWriteCloser) *conn { return &conn{rw, bufio.NewReaderSize(rw, 64<<10)} }

// link sends and receives numbered frames in order, each exactly once, over one
// connection after the other. Safe for concurrent use.
type link struct {
	timing
	mu   sync.Mutex
	bell chan struct{} // closed and replaced at every change

	acked   uint64   // last frame that the peer consumed
	kept    [][]byte // frames after acked, as sent
	keptLen int
	sent    uint64 // last frame written to the connection at hand

	received uint64 // last frame taken in
	consumed uint64 // last frame the reader is done with
	told     uint64 // what the peer was told of it, over the connection at hand
	queue    []Frame
	queueLen int

	cur     *conn // nil: between two connections
	curDone chan struct{}
	err     error // why the link is over
}

func newLink(t timing) *link { return &link{timing: t.orDefaults(), bell: make(chan struct{})} }

func (l *link) wake() {
	close(l.bell)
	l.bell = make(chan struct{})
}

// send numbers a packed frame and keeps it until it is consumed. It waits while the
// window is full, whether there is a connection or not.
func (l *link) send(ctx context.Context, f Frame) error {
	for {
		bell, err := l.offer(f)
		if bell == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-bell:
		}
	}
}

// offer sends f if there is room; else it gives the bell that rings when there may be.
func (l *link) offer(f Frame) (full <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	size := headerSize + len(f.Wire)
	if len(l.kept) > 0 && (l.keptLen+size > Window || len(l.kept) >= maxFrames) {
		return l.bell, nil
	}
	f.Seq = l.acked + uint64(len(l.kept)) + 1
	l.kept = append(l.kept, f.AppendTo(make([]byte, 0, size)))
	l.keptLen += size
	l.wake()
	return nil, nil
}

// recv waits for the next frame in order. The peer keeps it until consume is
// called with it.
func (l *link) recv(ctx context.Context) (Frame, error) {
	for {
		l.mu.Lock()
		if len(l.queue) > 0 {
			f := l.queue[0]
			l.queue[0] = Frame{}
			l.queue = l.queue[1:]
			l.queueLen -= headerSize + len(f.Wire)
			l.mu.Unlock()
			return f, nil
		}
		err, bell := l.err, l.bell
		l.mu.Unlock()
		if err != nil {
			return Frame{}, err
		}
		select {
		case <-ctx.Done():
			return Frame{}, ctx.Err()
		case <-bell:
		}
	}
}

// consume acknowledges f and all before it.
func (l *link) consume(f Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.consumed = max(l.consumed, f.Seq)
	l.wake()
}

// flush waits until the peer has consumed everything that was sent.
func (l *link) flush(ctx context.Context) error {
	return l.until(ctx, func() bool { return len(l.kept) == 0 })
}

// settle waits until the peer was told what is consumed, while there is a connection.
func (l *link) settle(ctx context.Context) error {
	return l.until(ctx, func() bool { return l.told >= l.consumed || l.cur == nil })
}

func (l *link) until(ctx context.Context, so func() bool) error {
	for {
		l.mu.Lock()
		done, err, bell := so(), l.err, l.bell
		l.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-bell:
		}
	}
}

// fail ends the link for good. What was taken in before can still be read.
func (l *link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	if l.cur != nil {
		_ = l.cur.Close()
	}
	l.wake()
}

// position is the number of the last frame that was taken in.
func (l *link) position() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.received
}

// attach works over c until it breaks, and closes it. A connection that was at work
// before is ended first. peer is the last frame that the other side took in.
func (l *link) attach(c *conn, peer uint64) error {
	done, err := l.take(c, peer)
	if err != nil {
		_ = c.Close()
		return err
	}
	stop := make(chan struct{})
	wrote := make(chan error, 1)
	go func() {
		err := l.write(c, stop)
		_ = c.Close()
		wrote <- err
	}()
	err = l.read(c)
	_ = c.Close()
	close(stop)
	werr := <-wrote
	if werr != nil && !errors.Is(err, ErrProtocol) {
		err = werr
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cur = nil
	close(done)
	l.wake()
	if l.err != nil {
		return l.err
	}
	return err
}

// take makes c the connection at work, when the one before has come to its end.
func (l *link) take(c *conn, peer uint64) (chan struct{}, error) {
	l.mu.Lock()
	for l.cur != nil {
		_ = l.cur.Close()
		done := l.curDone
		l.mu.Unlock()
		<-done
		l.mu.Lock()
	}
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	if peer < l.acked || peer > l.acked+uint64(len(l.kept)) {
		return nil, fmt.Errorf("resume after frame %d of %d to %d: %w", peer, l.acked, l.acked+uint64(len(l.kept)), errResume)
	}
	l.sent, l.told = peer, 0
	l.cur, l.curDone = c, make(chan struct{})
	return l.curDone, nil
}

// write sends what is due until the connection breaks: acknowledgements, kept frames,
// and a beat when there is nothing else.
func (l *link) write(c *conn, stop <-chan struct{}) error {
	beat := time.NewTicker(l.beat)
	defer beat.Stop()
	for first, due := true, false; ; first = false {
		l.mu.Lock()
		var out []byte
		var ack bool
		switch next := l.sent - l.acked; {
		case l.consumed != l.told || first:
			out, ack = Frame{Kind: Ack, Seq: l.consumed}.AppendTo(nil), true
		case l.sent >= l.acked && next < uint64(len(l.kept)):
			out = l.kept[next]
			l.sent++
		case l.err != nil:
			l.mu.Unlock()
			return nil
		case due:
			out, due = Frame{Kind: Beat}.AppendTo(nil), false
		}
		bell, consumed := l.bell, l.consumed
		l.mu.Unlock()
		if out != nil {
			if _, err := c.Write(out); err != nil {
				return err
			}
			if ack {
				l.mu.Lock()
				l.told = consumed
				l.wake()
				l.mu.Unlock()
			}
			continue
		}
		select {
		case <-stop:
			return nil
		case <-bell:
		case <-beat.C:
			due = true
		}
	}
}

// read takes frames in until the connection breaks.
func (l *link) read(c *conn) error {
	alive := time.AfterFunc(l.dead, func() { _ = c.Close() })
	defer alive.Stop()
	for {
		f, err := Read(c.br)
		if err != nil {
			return err
		}
		alive.Reset(l.dead)
		if err := l.arrived(f); err != nil {
			return err
		}
	}
}

func (l *link) arrived(f Frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case f.Kind == Beat:
		return nil
	case f.Kind == Ack:
		if f.Seq > l.sent {
			return fmt.Errorf("frame %d acknowledged, %d sent: %w", f.Seq, l.sent, ErrProtocol)
		}
		for ; l.acked < f.Seq; l.acked++ {
			l.keptLen -= len(l.kept[0])
			l.kept[0] = nil
			l.kept = l.kept[1:]
		}
		l.wake()
		return nil
	case !f.Kind.numbered() || f.Seq != l.received+1:
		return fmt.Errorf("frame %d of kind %d after %d: %w", f.Seq, f.Kind, l.received, ErrProtocol)
	case l.queueLen > 0 && (l.queueLen+headerSize+len(f.Wire) > Window+MaxPayload+headerSize || len(l.queue) > maxFrames):
		return fmt.Errorf("frame %d: over the window: %w", f.Seq, ErrProtocol)
	}
	l.received = f.Seq
	l.queue = append(l.queue, f)
	l.queueLen += headerSize + len(f.Wire)
	l.wake()
	return nil
}
