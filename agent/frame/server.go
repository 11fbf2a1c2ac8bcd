package frame

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Handler does what a call asks for. It answers through out; what it returns becomes
// the caller's error. It is called by one
// goroutine at a time, unless a call goes on after its context ended.
type Handler interface {
	Handle(ctx context.Context, verb string, body json.RawMessage, out *Out) error
}

// ServerOptions bound a Server. Zero values are the protocol's own.
type ServerOptions struct {
	Beat      time.Duration // 10 s
	Dead      time.Duration // without a frame from the peer; 3.5 beats
	Handshake time.Duration // to prove who one is; 2 s
}

// Server is the worker's side: one session at a time, which outlives its connections.
type Server struct {
	opt      ServerOptions
	peer     ed25519.PublicKey
	key      ed25519.PrivateKey
	instance []byte
	handler  Handler

	mu  sync.Mutex
	cur *session
}

// NewServer makes a server for the holder of peer's private half.
func NewServer(peer ed25519.PublicKey, h Handler, o ServerOptions) (*Server, error) {
	if len(peer) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("start worker: key of %d bytes: want %d", len(peer), ed25519.PublicKeySize)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	if o.Handshake <= 0 {
		o.Handshake = 2 * time.Second
	}
	return &Server{opt: o, peer: peer, key: key, instance: nonce(), handler: h}, nil
}

// Serve works over one connection until it breaks, and closes it. A session goes on
// without one, filling its window; ctx is the life of the sessions that it begins.
// authenticated, when not nil, is called once the peer has proven itself.
func (s *Server) Serve(ctx context.Context, rw io.ReadWriteCloser, authenticated func()) error {
	c := newConn(rw)
	var ses *session
	var from uint64
	err := within(c, s.opt.Handshake, func() (err error) {
		ses, from, err = s.admit(ctx, c)
		return err
	})
	if err != nil {
		_ = c.Close()
		return err
	}
	if authenticated != nil {
		authenticated()
	}
	return ses.link.attach(c, from)
}

func (s *Server) admit(ctx context.Context, c *conn) (*session, uint64, error) {
	h := hello{Instance: s.instance, Key: s.key.Public().(ed25519.PublicKey), Nonce: nonce()}
	if err := say(c, h); err != nil {
		return nil, 0, err
	}
	var a attach
	if err := hear(c, &a); err != nil {
		return nil, 0, err
	}
	if len(a.Session) != nonceSize || len(a.Nonce) != nonceSize {
		return nil, 0, fmt.Errorf("attach of the wrong size: %w", ErrProtocol)
	}
	if !ed25519.Verify(s.peer, a.words("attach", h), a.Sig) {
		return nil, 0, fmt.Errorf("attach: signature: %w", ErrRefused)
	}
	s.mu.Lock()
	ses := s.cur
	known := ses != nil && bytes.Equal(ses.id, a.Session)
	if !known && a.Fresh {
		if ses != nil {
			ses.end(errors.New("another session took over"))
		}
		ses = newSession(ctx, s, a.Session, ses)
		s.cur = ses
	}
	s.mu.Unlock()
	w := welcome{Fresh: !known}
	if known {
		w.Received = ses.link.position()
	}
	w.Sig = ed25519.Sign(s.key, w.words(a, h))
	if err := say(c, w); err != nil {
		return nil, 0, err
	}
	if !known && !a.Fresh {
		return nil, 0, errForgotten
	}
	return ses, a.Received, nil
}

// Flush waits until the peer has everything that the session at hand has sent.
func (s *Server) Flush(ctx context.Context) error {
	s.mu.Lock()
	ses := s.cur
	s.mu.Unlock()
	if ses == nil {
		return nil
	}
	return ses.link.flush(ctx)
}

// Close ends the session at hand.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur != nil {
		s.cur.end(errors.New("worker ends"))
		s.cur = nil
	}
}
