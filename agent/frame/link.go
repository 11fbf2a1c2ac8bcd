package frame

import (
	"bufio"
	"context"
	"errors"
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
