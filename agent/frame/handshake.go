package frame

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The handshake: the worker names itself and asks, irkit answers with a signature
// over both sides' words, the worker signs in turn with a key that it made when it
// started. irkit holds on to that key: on a later connection another worker in the
// place of the first is found out.
type hello struct {
	Instance []byte `json:"instance"` // random, made at the worker's start
	Key      []byte `json:"key"`      // Ed25519, made at the worker's start
	Nonce    []byte `json:"nonce"`
}

type attach struct {
	Session  []byte `json:"session"` // random, made at the start of this irkit's hand
	Nonce    []byte `json:"nonce"`
	Fresh    bool   `json:"fresh"`    // nothing was received yet
	Received uint64 `json:"received"` // last numbered frame taken in
	Sig      []byte `json:"sig"`
}

type welcome struct {
	Received uint64 `json:"received"`
	Fresh    bool   `json:"fresh"` // the worker knows nothing of that session
	Sig      []byte `json:"sig"`
}

var (
	// ErrRefused is a peer that could not prove who it is.
	ErrRefused = errors.New("peer is not who it should be")

	errForgotten = errors.New("worker does not know the session any more")
)

const nonceSize = 32

func nonce() []byte {
	b := make([]byte, nonceSize)
	_, _ = rand.Read(b) // never fails (crypto/rand, since Go 1.24)
	return b
}

func (h hello) check() error {
	if len(h.Instance) != nonceSize || len(h.Key) != ed25519.PublicKeySize || len(h.Nonce) != nonceSize {
		return fmt.Errorf("hello of the wrong size: %w", ErrProtocol)
	}
	return nil
}

// words are what a signature stands for; every part has a fixed size.
func (a attach) words(purpose string, h hello) []byte {
	b := append([]byte("irkit-hand@v1\x00"+purpose+"\x00"), h.Instance...)
	b = append(append(b, h.Key...), h.Nonce...)
	b = append(append(b, a.Session...), a.Nonce...)
	if a.Fresh {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return binary.BigEndian.AppendUint64(b, a.Received)
}

func (w welcome) words(a attach, h hello) []byte {
	b := binary.BigEndian.AppendUint64(a.words("welcome", h), w.Received)
	if w.Fresh {
		return append(b, 1)
	}
	return append(b, 0)
}

func say(c *conn, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	_, err = c.Write(Frame{Kind: Handshake, Raw: uint32(len(b)), Wire: b}.AppendTo(nil))
	return err
}

func hear(c *conn, v any) error {
	f, err := Read(c.br)
	if err != nil {
		return err
	}
	if f.Kind != Handshake || f.Codec != None || len(f.Wire) > 4096 {
		return fmt.Errorf("handshake: frame of kind %d, %d bytes: %w", f.Kind, len(f.Wire), ErrProtocol)
	}
	return unmarshal(f, f.Wire, v)
}

// within closes c when fn takes longer than limit.
func within(c *conn, limit time.Duration, fn func() error) error {
	t := time.AfterFunc(limit, func() { _ = c.Close() })
	err := fn()
	if !t.Stop() && err == nil {
		err = fmt.Errorf("handshake: longer than %v", limit)
	}
	return err
}

// greet is irkit's side. pinned is the worker's key when one is known.
func greet(c *conn, key ed25519.PrivateKey, pinned []byte, a attach) (hello, welcome, error) {
	var h hello
	var w welcome
	if err := hear(c, &h); err != nil {
		return h, w, fmt.Errorf("attach to hand: %w", err)
	}
	if err := h.check(); err != nil {
		return h, w, fmt.Errorf("attach to hand: %w", err)
	}
	if pinned != nil && !ed25519.PublicKey(pinned).Equal(ed25519.PublicKey(h.Key)) {
		return h, w, fmt.Errorf("attach to hand: another worker answers: %w", ErrRefused)
	}
	a.Nonce = nonce()
	a.Sig = ed25519.Sign(key, a.words("attach", h))
	if err := say(c, a); err != nil {
		return h, w, fmt.Errorf("attach to hand: %w", err)
	}
	if err := hear(c, &w); err != nil {
		return h, w, fmt.Errorf("attach to hand: %w", err)
	}
	if !ed25519.Verify(h.Key, w.words(a, h), w.Sig) {
		return h, w, fmt.Errorf("attach to hand: worker's signature: %w", ErrRefused)
	}
	if w.Fresh && !a.Fresh {
		return h, w, fmt.Errorf("attach to hand: %w", errForgotten)
	}
	return h, w, nil
}
