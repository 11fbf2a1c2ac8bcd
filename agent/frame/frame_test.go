package frame

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

func TestCollectWholeWithEachCodec(t *testing.T) {
	blobs := artifacts(1)
	r := newRig(t, emitting(blobs))
	c := r.connect(ClientOptions{})
	for _, wire := range []string{"", "s2", "zstd", "none"} {
		n, err := collect(t, c, agent.Request{Wire: wire}, blobs)
		if err != nil || n != len(blobs) {
			t.Errorf("wire %q: %d of %d whole, %v", wire, n, len(blobs), err)
		}
	}
	if err := c.Collect(t.Context(), agent.Request{Wire: "lz4"}, nil); err == nil {
		t.Error("unknown compression accepted")
	}
	id, err := c.Describe(t.Context())
	if err != nil || id.PID != 7 {
		t.Errorf("describe: %+v, %v", id, err)
	}
}

// TestResumeFromAnyOffset breaks the first connections at an offset, in either
// direction, by a cut or a flipped bit; what then comes must be whole.
func TestResumeFromAnyOffset(t *testing.T) {
	blobs := artifacts(2)[:5]
	offsets := []int{1, headerSize - 1, headerSize, headerSize + 1, 200, 400, 500, 700, 1000, 2000, 4096, 5000, 100_000, MaxPayload, MaxPayload + 900}
	rnd := rand.New(rand.NewPCG(7, 7))
	for range 12 {
		offsets = append(offsets, rnd.IntN(2*MaxPayload))
	}
	for _, flip := range []bool{false, true} {
		for _, inbound := range []bool{true, false} {
			for _, k := range offsets {
				r := newRig(t, emitting(blobs))
				r.spoil = func(n int, c io.ReadWriteCloser) io.ReadWriteCloser {
					if n > 2 {
						return c
					}
					return &faulty{ReadWriteCloser: c, left: k * (n + 1), flip: flip, inbound: inbound}
				}
				c := r.connect(ClientOptions{})
				n, err := collect(t, c, agent.Request{Wire: "none"}, blobs)
				if err != nil || n != len(blobs) {
					t.Errorf("offset %d, flip %v, inbound %v: %d of %d whole, %v", k, flip, inbound, n, len(blobs), err)
				}
			}
		}
	}
}

// TestTruncatedWhenTheWorkerIsGone cuts for good at an offset.
func TestTruncatedWhenTheWorkerIsGone(t *testing.T) {
	blobs := artifacts(3)
	for _, k := range []int{600, 900, 5000, MaxPayload, 2*MaxPayload + 5, 3 * MaxPayload} {
		r := newRig(t, emitting(blobs))
		r.spoil = func(n int, c io.ReadWriteCloser) io.ReadWriteCloser {
			if n > 0 {
				k = 0
			}
			return &faulty{ReadWriteCloser: c, left: max(1, k), inbound: true}
		}
		c := r.connect(ClientOptions{Grace: 20 * time.Millisecond})
		n, err := collect(t, c, agent.Request{Wire: "none"}, blobs)
		if n == len(blobs) || !errors.Is(err, agent.ErrGone) {
			t.Errorf("cut at %d: %d whole, %v; want ErrGone", k, n, err)
		}
	}
}

func TestSourceThatFailsIsTruncatedAndTheNextStillComes(t *testing.T) {
	r := newRig(t, func(_ context.Context, _ string, _ json.RawMessage, out *Out) error {
		bad := io.MultiReader(strings.NewReader("half"), badReader{})
		if err := out.Emit(header(0), bad); err != nil {
			return err
		}
		if err := out.Emit(header(1), io.MultiReader(strings.NewReader("fou"), badReader{})); err != nil {
			return err
		}
		absent := header(2)
		absent.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: "gone\x1b[31m"}
		if err := out.Emit(absent, nil); err != nil {
			return err
		}
		return out.Emit(header(3), strings.NewReader("four"))
	})
	c := r.connect(ClientOptions{})
	var got []string
	err := c.Collect(t.Context(), agent.Request{}, func(h agent.Header, rd io.Reader) error {
		if rd == nil {
			got = append(got, "absent "+h.Absent.Reason)
			return nil
		}
		b, err := io.ReadAll(rd)
		s := string(b)
		if errors.Is(err, agent.ErrTruncated) {
			s += " truncated"
		}
		got = append(got, s)
		return nil
	})
	want := "half truncated|fou truncated|absent gone\uFFFD[31m|four"
	if s := strings.Join(got, "|"); err != nil || s != want {
		t.Errorf("got %q, %v; want %q", s, err, want)
	}
}

type badReader struct{}

func (badReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestCancelledCallLeavesTheHandUsable(t *testing.T) {
	started := make(chan struct{}, 1)
	stopped := make(chan error, 1)
	r := newRig(t, func(ctx context.Context, verb string, _ json.RawMessage, out *Out) error {
		if verb == VerbDescribe {
			return out.Reply(agent.Identity{PID: 9})
		}
		started <- struct{}{}
		err := out.Emit(header(0), endless{})
		stopped <- err
		return err
	})
	c := r.connect(ClientOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Collect(ctx, agent.Request{Wire: "none"}, func(_ agent.Header, rd io.Reader) error {
		<-started
		cancel()
		_, err := io.Copy(io.Discard, rd)
		if !errors.Is(err, agent.ErrTruncated) {
			t.Errorf("cancelled stream ended with %v", err)
		}
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("collect: %v, want cancelled", err)
	}
	id, err := c.Describe(t.Context())
	if err != nil || id.PID != 9 {
		t.Errorf("describe after a cancelled call: %+v, %v", id, err)
	}
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("worker went on: %v", err)
	}
	// The receiver's own failure ends the call too, with its own error.
	full := errors.New("disk full")
	err = c.Collect(t.Context(), agent.Request{Wire: "none"}, func(_ agent.Header, rd io.Reader) error {
		_, _ = io.CopyN(io.Discard, rd, 100)
		return full
	})
	if !errors.Is(err, full) {
		t.Errorf("collect: %v, want %v", err, full)
	}
	if _, err := c.Describe(t.Context()); err != nil {
		t.Errorf("describe after a full disk: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestPanicEndsTheCallAlone(t *testing.T) {
	r := newRig(t, func(_ context.Context, verb string, _ json.RawMessage, out *Out) error {
		if verb == VerbCollect {
			panic("hostile /proc")
		}
		return out.Reply(agent.Identity{})
	})
	c := r.connect(ClientOptions{})
	if err := c.Collect(t.Context(), agent.Request{}, nil); err == nil || !strings.Contains(err.Error(), "hostile /proc") {
		t.Errorf("collect: %v", err)
	}
	if _, err := c.Describe(t.Context()); err != nil {
		t.Errorf("describe: %v", err)
	}
}

func TestContractErrorsCross(t *testing.T) {
	r := newRig(t, func(_ context.Context, _ string, _ json.RawMessage, out *Out) error {
		if err := out.Reply(agent.Opened{Processes: 3}); err != nil {
			return err
		}
		return agent.ErrNodeNetwork
	})
	c := r.connect(ClientOptions{})
	o, err := c.Open(t.Context(), agent.Opening{})
	if !errors.Is(err, agent.ErrNodeNetwork) || o.Processes != 3 {
		t.Errorf("open: %+v, %v", o, err)
	}
}

func TestSenderKeepsNoMoreThanItsWindow(t *testing.T) {
	l := newLink(timing{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var err error
	for err == nil {
		err = l.send(ctx, Frame{Kind: Data, Raw: MaxPayload, Wire: make([]byte, MaxPayload)})
	}
	if !errors.Is(err, context.DeadlineExceeded) || l.keptLen > Window || l.keptLen < Window/2 {
		t.Errorf("kept %d bytes of at most %d: %v", l.keptLen, Window, err)
	}
}

func TestTakeoverBySecondClient(t *testing.T) {
	r := newRig(t, emitting(artifacts(4)))
	first := r.connect(ClientOptions{Grace: 20 * time.Millisecond})
	second := r.connect(ClientOptions{})
	if _, err := second.Describe(t.Context()); err != nil {
		t.Errorf("second: %v", err)
	}
	if _, err := first.Describe(t.Context()); !errors.Is(err, agent.ErrGone) {
		t.Errorf("first: %v, want ErrGone", err)
	}
}

func TestCloseEndsAndLaterCallsFail(t *testing.T) {
	ended := false
	r := newRig(t, func(_ context.Context, verb string, _ json.RawMessage, _ *Out) error {
		ended = ended || verb == VerbEnd
		return nil
	})
	c := r.connect(ClientOptions{})
	if err := c.Close(t.Context(), true); err != nil || !ended {
		t.Errorf("close: %v, ended %v", err, ended)
	}
	if _, err := c.Describe(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("describe after close: %v", err)
	}
}

func TestPropertyRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 3))
	var c coder
	defer c.close()
	for range 200 {
		p := make([]byte, rnd.IntN(5000))
		for i := range p {
			p[i] = byte(rnd.Uint32() % (1 + rnd.Uint32N(255)))
		}
		f, err := c.pack(Frame{Kind: Data, Stream: rnd.Uint32(), Seq: 1 + uint64(rnd.Uint32())}, Codec(rnd.IntN(3)), p)
		if err != nil {
			t.Fatal(err)
		}
		wire := f.AppendTo(nil)
		g, err := Read(bytes.NewReader(wire))
		if err != nil {
			t.Fatal(err)
		}
		q, err := c.unpack(g)
		if err != nil || !bytes.Equal(p, q) || g.Stream != f.Stream || g.Seq != f.Seq {
			t.Fatalf("round trip: %v", err)
		}
		// Any single changed bit, and any cut, is noticed.
		i := rnd.IntN(len(wire))
		wire[i] ^= 1 << rnd.IntN(8)
		if _, err := Read(bytes.NewReader(wire)); err == nil {
			t.Fatalf("bit changed at %d of %d was not noticed", i, len(wire))
		}
		if _, err := Read(bytes.NewReader(wire[:i])); err == nil {
			t.Fatalf("cut at %d of %d was not noticed", i, len(wire))
		}
	}
}
