//go:build linux

package worker

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/frame"
)

// Options say whom a worker serves, and with what.
type Options struct {
	Key     ed25519.PublicKey // of the irkit that started it
	MaxLife time.Duration     // 24 h when 0
	Version string
	Self    Self

	TargetPID int    // 0: no target
	Reader    Reader // nil: no target
	NoTarget  error  // why there is none, where one was expected
	Cutter    Cutter

	Listener net.Listener // nil: Listen(Key)
	Server   frame.ServerOptions
	Log      func(string) // for the container's log: nothing of the target; may be nil
}

// worker holds what one worker knows.
type worker struct {
	Options
	started time.Time
	ended   chan struct{}
	endOnce sync.Once

	mu     sync.Mutex
	opened *agent.Opened // what the opening move did; nil before it
	caseID string        // of the cut that it made
}

func (w *worker) cutCase() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.caseID
}

// Run listens on the key's socket and serves until ctx ends, the life is over, or
// irkit ends it. The cut, if one was made, stands on.
func Run(ctx context.Context, o Options) error {
	l := o.Listener
	if l == nil {
		own, err := Listen(o.Key)
		if err != nil {
			return err
		}
		l = own
	}
	return serve(ctx, o, l, checkPeer)
}

func serve(ctx context.Context, o Options, l net.Listener, check func(net.Conn) error) error {
	defer l.Close()
	if o.Cutter == nil {
		return errors.New("start worker: no cutter")
	}
	o.MaxLife = or(o.MaxLife, 24*time.Hour)
	if o.Log == nil {
		o.Log = func(string) {}
	}
	w := &worker{Options: o, started: time.Now().UTC(), ended: make(chan struct{})}
	server, err := frame.NewServer(o.Key, w, o.Server)
	if err != nil {
		return err
	}
	defer server.Close()
	ctx, stop := context.WithTimeoutCause(ctx, o.MaxLife, errors.New("life of the worker is over"))
	defer stop()
	d := door{server: server, check: check, log: o.Log, slots: make(chan struct{}, strangers)}
	go d.keep(ctx, l)
	o.Log(fmt.Sprintf("worker %s waits, until %s", o.Version, w.ends().Format(time.RFC3339)))
	select {
	case <-ctx.Done():
		o.Log(context.Cause(ctx).Error())
	case <-w.ended:
		last, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_ = server.Flush(last) // so that irkit reads that it is over
		o.Log("ended by irkit")
	}
	return nil
}

func (w *worker) ends() time.Time { return w.started.Add(w.MaxLife) }

// Handle does one call.
func (w *worker) Handle(ctx context.Context, verb string, body json.RawMessage, out *frame.Out) error {
	switch verb {
	case frame.VerbOpen:
		return answer(ctx, body, out, w.open)
	case frame.VerbMeasure:
		return answer(ctx, body, out, w.measure)
	case frame.VerbDescribe:
		return out.Reply(w.identity())
	case frame.VerbLift:
		return w.lift(ctx, body)
	case frame.VerbKnow:
		return w.know(body)
	case frame.VerbCollect:
		return w.collect(ctx, body, out)
	case frame.VerbEnd:
		out.After(func() { w.endOnce.Do(func() { close(w.ended) }) })
		return nil
	}
	return fmt.Errorf("verb %q: %w", verb, errors.ErrUnsupported)
}

// answer decodes, does, and replies; what was found is sent also when fn fails.
func answer[Q, R any](ctx context.Context, body json.RawMessage, out *frame.Out, fn func(context.Context, Q) (R, error)) error {
	var q Q
	if err := json.Unmarshal(body, &q); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	r, err := fn(ctx, q)
	if e := out.Reply(r); e != nil {
		return errors.Join(err, e)
	}
	return err
}

func (w *worker) lift(ctx context.Context, body json.RawMessage) error {
	var q frame.Lifting
	if err := json.Unmarshal(body, &q); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if err := w.Cutter.Lift(ctx, q.Case); err != nil {
		return fmt.Errorf("lift the cut of case %s: %w", q.Case, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if q.Case == w.caseID { // a further opening cuts anew
		w.opened, w.caseID = nil, ""
	}
	return nil
}

func (w *worker) know(body json.RawMessage) error {
	var k agent.Known
	if err := json.Unmarshal(body, &k); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	if w.Reader == nil {
		return fmt.Errorf("know the image's files: %w", errors.Join(errors.New("no target beside this worker"), w.NoTarget))
	}
	return w.Reader.Know(k)
}

func (w *worker) collect(ctx context.Context, body json.RawMessage, out *frame.Out) error {
	var q agent.Request
	if err := json.Unmarshal(body, &q); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	codec, err := frame.ParseCodec(q.Wire)
	if err != nil {
		return err
	}
	if w.Reader == nil {
		return fmt.Errorf("collect %s: %w", q.Kind, errors.Join(errors.New("no target beside this worker"), w.NoTarget))
	}
	out.Tune(codec)
	return w.Reader.Collect(ctx, q, out.Emit)
}
