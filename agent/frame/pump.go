package frame

import (
	"errors"
	"fmt"
	"time"
)

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
