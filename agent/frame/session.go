package frame

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"time"
)

// session is one irkit's conversation with the worker.
type session struct {
	id     []byte
	link   *link
	stop   context.CancelFunc
	calls  chan control
	cancel chan uint64
	idle   chan struct{} // closed when no call is at work any more
	coder  coder
	stream uint32
}

const waiting = 16 // calls that may wait for their turn

// patience is how long a session waits for a call of the one before, which was told
// to stop: what hangs on the target must not keep the next irkit out.
const patience = 5 * time.Second

func newSession(ctx context.Context, s *Server, id []byte, before *session) *session {
	ctx, stop := context.WithCancel(ctx)
	ses := &session{
		idle: make(chan struct{}),
		id:   id, stop: stop, link: newLink(timing{beat: s.opt.Beat, dead: s.opt.Dead}),
		calls: make(chan control, waiting), cancel: make(chan uint64, waiting),
	}
	go ses.listen(ctx)
	go func() {
		defer close(ses.idle)
		if before != nil {
			late := time.NewTimer(patience)
			defer late.Stop()
			select {
			case <-before.idle:
			case <-late.C:
			}
		}
		ses.work(ctx, s.handler)
	}()
	return ses
}

func (ses *session) end(err error) {
	ses.link.fail(err)
	ses.stop()
}

// listen reads what irkit says; calls wait in line, cancels overtake them.
func (ses *session) listen(ctx context.Context) {
	defer ses.stop()
	var in coder
	defer in.close()
	for {
		f, err := ses.link.recv(ctx)
		if err != nil {
			return
		}
		var c control
		b, err := in.unpack(f)
		if err == nil && f.Kind != Control {
			err = fmt.Errorf("frame %d of kind %d: %w", f.Seq, f.Kind, ErrProtocol)
		}
		if err == nil {
			err = unmarshal(f, b, &c)
		}
		if err != nil {
			ses.link.fail(err)
			return
		}
		ses.link.consume(f)
		switch c.Op {
		case opCall:
			select {
			case ses.calls <- c:
			default:
				ses.link.fail(fmt.Errorf("more than %d calls at once: %w", waiting, ErrProtocol))
				return
			}
		case opCancel:
			select {
			case ses.cancel <- c.Call:
			case <-ctx.Done():
			}
		}
	}
}

func (ses *session) work(ctx context.Context, h Handler) {
	defer ses.coder.close()
	var over uint64 // calls up to it are done or cancelled
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-ses.cancel: // of a call that is over or still in line
			over = max(over, n)
		case c := <-ses.calls:
			if c.Call <= over {
				continue
			}
			if err := ses.one(ctx, h, c); err != nil {
				return
			}
		}
	}
}

// one does one call, and stops it when irkit says so.
func (ses *session) one(ctx context.Context, h Handler, c control) error {
	callCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-ended:
				return
			case n := <-ses.cancel:
				if n >= c.Call {
					cancel()
				}
			}
		}
	}()
	out := &Out{ses: ses, ctx: callCtx, call: c.Call}
	err := guard(func() error { return h.Handle(callCtx, c.Verb, c.Body, out) })
	close(ended)
	<-watched
	if err := ses.control(ctx, control{Op: opDone, Call: c.Call, Verb: c.Verb, Fault: faultOf(err)}); err != nil {
		return err
	}
	if out.after != nil {
		out.after()
	}
	return nil
}

// guard turns a panic into an error: what the target shows must not end the worker.
func guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("worker panicked: %v: %s", p, debug.Stack())
		}
	}()
	return fn()
}

func (ses *session) control(ctx context.Context, c control) error {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("control frame %s: %w", c.Op, err)
	}
	f, err := ses.coder.pack(Frame{Kind: Control}, None, b)
	if err != nil {
		return err
	}
	return ses.link.send(ctx, f)
}
