package frame

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// forger is a peer that took the worker's place before irkit knew its key: it passes the handshake
// and then says what it likes.
func forger(t *testing.T, broken func(error), frames func(call uint64) []Frame) *Client {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	spub, skey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	instance := nonce()
	dial := func(context.Context) (io.ReadWriteCloser, error) {
		a, b := net.Pipe()
		go func() {
			c := newConn(b)
			defer c.Close()
			h := hello{Instance: instance, Key: spub, Nonce: nonce()}
			var at attach
			if say(c, h) != nil || hear(c, &at) != nil {
				return
			}
			w := welcome{Fresh: at.Fresh, Received: 0}
			w.Sig = ed25519.Sign(skey, w.words(at, h))
			if say(c, w) != nil {
				return
			}
			for {
				f, err := Read(c.br)
				if err != nil {
					return
				}
				if f.Kind != Control {
					continue
				}
				var m control
				if json.Unmarshal(f.Wire, &m) != nil || m.Op != opCall {
					continue
				}
				for i, out := range frames(m.Call) {
					if out.Seq == 0 && out.Kind.numbered() {
						out.Seq = uint64(i + 1)
					}
					if out.Raw == 0 {
						out.Raw = uint32(len(out.Wire))
					}
					if _, err := c.Write(out.AppendTo(nil)); err != nil {
						return
					}
				}
			}
		}()
		return a, nil
	}
	c, err := Connect(t.Context(), dial, key, ClientOptions{Grace: 30 * time.Millisecond, Backoff: time.Millisecond, Broken: broken})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.WithoutCancel(t.Context()), false) })
	return c
}

func js(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

func opened(call uint64, h *agent.Header) Frame {
	return Frame{Kind: Control, Wire: js(control{Op: opOpen, Call: call, Stream: 5, Header: h})}
}

func done(call uint64) Frame {
	return Frame{Kind: Control, Wire: js(control{Op: opDone, Call: call})}
}

func bomb(t *testing.T) []byte {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return e.EncodeAll(make([]byte, 64<<20), nil)
}

// TestForgedStreamsAreNeverWhole: whatever a peer sends, a stream ends whole only with
// an end record that agrees.
func TestForgedStreamsAreNeverWhole(t *testing.T) {
	h := header(0)
	sum := evidence.Digest(sha256.Sum256([]byte("abc")))
	data := Frame{Kind: Data, Stream: 5, Wire: []byte("abc")}
	end := func(r endRecord) Frame { return Frame{Kind: End, Stream: 5, Wire: js(r)} }
	big := bomb(t)
	for name, frames := range map[string]func(uint64) []Frame{
		"no end record": func(n uint64) []Frame { return []Frame{opened(n, &h), data, done(n)} },
		"wrong digest":  func(n uint64) []Frame { return []Frame{opened(n, &h), data, end(endRecord{Size: 3}), done(n)} },
		"wrong size": func(n uint64) []Frame {
			return []Frame{opened(n, &h), data, end(endRecord{Size: 4, SHA256: sum}), done(n)}
		},
		"another's end": func(n uint64) []Frame {
			return []Frame{opened(n, &h), data, {Kind: End, Stream: 6, Wire: js(endRecord{Size: 3, SHA256: sum})}, done(n)}
		},
		"end is no record": func(n uint64) []Frame { return []Frame{opened(n, &h), data, {Kind: End, Stream: 5, Wire: []byte("[")}} },
		"number left out": func(n uint64) []Frame {
			return []Frame{opened(n, &h), {Kind: Data, Seq: 3, Stream: 5, Wire: []byte("abc")}}
		},
		"zstd bomb": func(n uint64) []Frame {
			return []Frame{opened(n, &h), {Kind: Data, Codec: Zstd, Raw: MaxPayload, Stream: 5, Wire: big}}
		},
		"s2 bomb": func(n uint64) []Frame {
			return []Frame{opened(n, &h), {Kind: Data, Codec: S2, Raw: 1000, Stream: 5, Wire: s2.Encode(nil, make([]byte, 900_000))[:500]}}
		},
		"further artifact":   func(n uint64) []Frame { return []Frame{opened(n, &h), data, opened(n, &h), done(n)} },
		"acknowledges ahead": func(n uint64) []Frame { return []Frame{opened(n, &h), data, {Kind: Ack, Seq: 99}} },
		"too much":           func(n uint64) []Frame { return append([]Frame{opened(n, &h)}, flood()...) },
	} {
		t.Run(name, func(t *testing.T) {
			broken := make(chan struct{})
			var once sync.Once
			c := forger(t, func(error) { once.Do(func() { close(broken) }) }, frames)
			read := false
			_ = c.Collect(t.Context(), agent.Request{}, func(_ agent.Header, r io.Reader) error {
				read = true
				if name == "too much" {
					<-broken // a sink that takes nothing
				}
				if _, err := io.Copy(io.Discard, r); !errors.Is(err, agent.ErrTruncated) {
					t.Errorf("ended with %v, want ErrTruncated", err)
				}
				return nil
			})
			if !read {
				t.Error("no stream was opened")
			}
		})
	}
}

func flood() []Frame {
	var out []Frame
	for range 2 * Window / MaxPayload {
		out = append(out, Frame{Kind: Data, Stream: 5, Wire: make([]byte, MaxPayload)})
	}
	return out
}

func TestForgedHeadersAreRefused(t *testing.T) {
	for name, change := range map[string]func(*agent.Header){
		"path as kind":  func(h *agent.Header) { h.Kind = "../../etc/passwd" },
		"path as ext":   func(h *agent.Header) { h.Ext = "log/../x" },
		"no kind":       func(h *agent.Header) { h.Kind = "" },
		"trust of API":  func(h *agent.Header) { h.Trust = evidence.TrustAPI },
		"hidden ending": func(h *agent.Header) { h.Ext = ".profile" },
	} {
		h := header(0)
		change(&h)
		c := forger(t, nil, func(n uint64) []Frame { return []Frame{opened(n, &h), done(n)} })
		err := c.Collect(t.Context(), agent.Request{}, func(agent.Header, io.Reader) error {
			t.Errorf("%s: passed on", name)
			return nil
		})
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v, want ErrProtocol", name, err)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	r := newRig(t, emitting(nil))
	_, other, _ := ed25519.GenerateKey(nil)
	_, err := Connect(t.Context(), r.dial, other, ClientOptions{Grace: 10 * time.Millisecond, Backoff: time.Millisecond})
	if !errors.Is(err, agent.ErrGone) {
		t.Errorf("a key that is not ours: %v", err)
	}
	// Another worker in the place of the first is found out by its key.
	s2, err := NewServer(r.key.Public().(ed25519.PublicKey), emitting(nil), ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	broken := make(chan error, 100)
	r.spoil = func(n int, c io.ReadWriteCloser) io.ReadWriteCloser {
		if n == 0 {
			return &faulty{ReadWriteCloser: c, left: 2000, inbound: true}
		}
		return c
	}
	r.dials = 0
	c := r.connect(ClientOptions{Grace: 50 * time.Millisecond, Broken: func(err error) {
		select {
		case broken <- err:
		default:
		}
	}})
	r.mu.Lock()
	r.server = s2
	r.mu.Unlock()
	var e error
	for e == nil {
		_, e = c.Describe(t.Context())
	}
	if !errors.Is(e, agent.ErrGone) || !errors.Is(e, ErrRefused) {
		t.Errorf("another worker: %v, want ErrGone and ErrRefused", e)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte{})
	f.Add(Frame{Kind: Beat}.AppendTo(nil))
	f.Add(Frame{Kind: Data, Seq: 1, Stream: 2, Raw: 3, Wire: []byte("abc")}.AppendTo(nil))
	f.Add(Frame{Kind: Data, Seq: 1, Codec: S2, Raw: 900, Wire: s2.Encode(nil, make([]byte, 900))}.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c coder
		defer c.close()
		for r := bytes.NewReader(b); ; {
			fr, err := Read(r)
			if err != nil {
				return
			}
			if len(fr.Wire) > MaxPayload {
				t.Fatalf("%d bytes on the wire", len(fr.Wire))
			}
			if p, err := c.unpack(fr); err == nil && len(p) != int(fr.Raw) {
				t.Fatalf("%d bytes, announced %d", len(p), fr.Raw)
			}
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add(byte(1), uint32(900), s2.Encode(nil, make([]byte, 900)))
	f.Add(byte(2), uint32(4), []byte{0x28, 0xb5, 0x2f, 0xfd, 4, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, codec byte, raw uint32, wire []byte) {
		var c coder
		defer c.close()
		p, err := c.unpack(Frame{Codec: Codec(codec % 3), Raw: raw % (MaxPayload + 1), Wire: wire})
		if err == nil && codec%3 != 0 && len(p) != int(raw%(MaxPayload+1)) {
			t.Fatalf("%d bytes, announced %d", len(p), raw)
		}
	})
}

func FuzzControl(f *testing.F) {
	f.Add([]byte(`{"op":"open","call":1,"header":{"kind":"a"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m control
		if unmarshal(Frame{}, b, &m) != nil {
			return
		}
		if checkHeader(m.Header) == nil && (m.Header.Kind == "" || bytes.ContainsAny([]byte(m.Header.Kind+m.Header.Ext), "/\\ \x00")) {
			t.Fatalf("header %+v accepted", m.Header)
		}
		if e := m.Fault.err("x"); e != nil && len(e.Error()) > 20000 {
			t.Fatalf("fault of %d bytes", len(e.Error()))
		}
	})
}
