package frame

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// rig is a server with its key, and a dialer whose connections are net.Pipes.
type rig struct {
	t      *testing.T
	server *Server
	key    ed25519.PrivateKey
	ctx    context.Context

	mu    sync.Mutex
	spoil func(n int, c io.ReadWriteCloser) io.ReadWriteCloser // of the nth connection
	dials int
	wg    sync.WaitGroup
}

type handlerFunc func(ctx context.Context, verb string, body json.RawMessage, out *Out) error

func (f handlerFunc) Handle(ctx context.Context, verb string, body json.RawMessage, out *Out) error {
	return f(ctx, verb, body, out)
}

func newRig(t *testing.T, h handlerFunc) *rig {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(pub, h, ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &rig{t: t, server: s, key: key, ctx: ctx}
	t.Cleanup(func() { cancel(); s.Close(); r.wg.Wait() })
	return r
}

func (r *rig) dial(context.Context) (io.ReadWriteCloser, error) {
	r.mu.Lock()
	n := r.dials
	r.dials++
	spoil := r.spoil
	r.mu.Unlock()
	a, b := net.Pipe()
	r.wg.Add(1)
	go func() {
		defer r.wg.Done()
		_ = r.server.Serve(r.ctx, b, nil)
	}()
	if spoil != nil {
		return spoil(n, a), nil
	}
	return a, nil
}

func (r *rig) connect(o ClientOptions) *Client {
	r.t.Helper()
	if o.Backoff == 0 {
		o.Backoff = time.Millisecond
	}
	c, err := Connect(r.t.Context(), r.dial, r.key, o)
	if err != nil {
		r.t.Fatalf("connect: %v", err)
	}
	r.t.Cleanup(func() { _ = c.Close(context.WithoutCancel(r.t.Context()), false) })
	return c
}

// artifacts are what the test handler emits: sizes around every boundary.
func artifacts(seed uint64) [][]byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var out [][]byte
	for _, n := range []int{0, 1, 4096, MaxPayload - 1, MaxPayload, MaxPayload + 1, 3*MaxPayload + 17} {
		b := make([]byte, n)
		for i := range b {
			if i%3 == 0 {
				b[i] = byte(rnd.Uint32())
			}
		}
		out = append(out, b)
	}
	return out
}

func header(i int) agent.Header {
	return agent.Header{Kind: fmt.Sprintf("k-%d", i), Ext: "bin", Class: evidence.Internal, Trust: evidence.TrustDebugger}
}

func emitting(blobs [][]byte) handlerFunc {
	return func(_ context.Context, verb string, body json.RawMessage, out *Out) error {
		switch verb {
		case VerbCollect:
			var r agent.Request
			if err := json.Unmarshal(body, &r); err != nil {
				return err
			}
			c, err := ParseCodec(r.Wire)
			if err != nil {
				return err
			}
			out.Tune(c)
			for i, b := range blobs {
				if err := out.Emit(header(i), bytes.NewReader(b)); err != nil {
					return err
				}
			}
			return nil
		case VerbDescribe:
			return out.Reply(agent.Identity{Version: "t", PID: 7})
		}
		return errors.ErrUnsupported
	}
}

// collect takes all artifacts and demands of each that it is whole or says that it is not.
func collect(t *testing.T, c agent.Hand, r agent.Request, want [][]byte) (whole int, err error) {
	t.Helper()
	i := 0
	err = c.Collect(t.Context(), r, func(h agent.Header, rd io.Reader) error {
		defer func() { i++ }()
		if h.Kind != header(i).Kind {
			t.Errorf("artifact %d is %s", i, h.Kind)
		}
		got, err := io.ReadAll(rd)
		if err == nil {
			if !bytes.Equal(got, want[i]) {
				t.Errorf("artifact %d: %d bytes passed as whole, want %d", i, len(got), len(want[i]))
			}
			tr := rd.(interface{ Trailer() evidence.Trailer }).Trailer()
			if tr.Size != int64(len(want[i])) || tr.SHA256.IsZero() {
				t.Errorf("artifact %d: trailer %+v", i, tr)
			}
			whole++
			return nil
		}
		if !errors.Is(err, agent.ErrTruncated) {
			t.Errorf("artifact %d: %v, want ErrTruncated", i, err)
		}
		if !bytes.HasPrefix(want[i], got) {
			t.Errorf("artifact %d: truncated bytes are not a prefix", i)
		}
		return nil
	})
	return whole, err
}

// faulty cuts a connection, or flips a bit in it, after a number of bytes.
type faulty struct {
	io.ReadWriteCloser
	mu         sync.Mutex
	left       int
	flip, down bool
	inbound    bool
}

func (f *faulty) spoil(p []byte, n int, in bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if in != f.inbound || f.down {
		return nil
	}
	if f.left -= n; f.left > 0 {
		return nil
	}
	f.down = true
	if f.flip {
		if n > 0 {
			p[n-1+min(0, f.left)] ^= 0x10
		}
		return nil
	}
	_ = f.Close()
	return io.ErrClosedPipe
}

func (f *faulty) Read(p []byte) (int, error) {
	n, err := f.ReadWriteCloser.Read(p)
	if e := f.spoil(p, n, true); e != nil {
		return 0, e
	}
	return n, err
}

func (f *faulty) Write(p []byte) (int, error) {
	q := bytes.Clone(p)
	if e := f.spoil(q, len(q), false); e != nil {
		return 0, e
	}
	return f.ReadWriteCloser.Write(q)
}
