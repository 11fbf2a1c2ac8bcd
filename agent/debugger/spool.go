package debugger

import (
	"fmt"
	"io"
	"sync"

	"irkit.dev/irkit/agent/frame"
)

// spoolLimit is what an honest worker can have on the way: its window of frames, with
// room for what a resumed connection brings beside them.
const spoolLimit = frame.Window + 4*frame.MaxPayload

// spool takes exec's output without ever making its writer wait: a slow reader would
// else hold up the stream's pings (one loop serves all streams of a connection). What
// is over the limit ends it, since client-go only logs what a writer answers.
type spool struct {
	first func(Transport) // called with the first bytes
	limit int

	mu   sync.Mutex
	cond *sync.Cond
	t    Transport
	held [][]byte
	size int
	own  error // why writing failed
	err  error // after the last byte
}

func newSpool() *spool {
	s := &spool{limit: spoolLimit}
	s.cond = sync.NewCond(&s.mu)
	return s
}

func (s *spool) via(t Transport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t = t
}

func (s *spool) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	if s.size+len(p) > s.limit {
		s.own = fmt.Errorf("more than %d bytes came without being asked for", s.limit)
		s.err = s.own
		s.cond.Broadcast()
		return 0, s.own
	}
	if s.first != nil && len(p) > 0 {
		s.first(s.t)
		s.first = nil
	}
	s.held = append(s.held, append([]byte(nil), p...))
	s.size += len(p)
	s.cond.Broadcast()
	return len(p), nil
}

// Read waits for bytes; after the last one it says why there are no more.
func (s *spool) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.held) == 0 && s.err == nil {
		s.cond.Wait()
	}
	if len(s.held) == 0 {
		return 0, s.err
	}
	n := copy(p, s.held[0])
	if s.held[0] = s.held[0][n:]; len(s.held[0]) == 0 {
		s.held[0] = nil
		s.held = s.held[1:]
	}
	s.size -= n
	return n, nil
}

// end closes the spool; what it holds can still be read.
func (s *spool) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = io.ErrUnexpectedEOF // a relay has no end of its own
	}
	if s.err == nil {
		s.err = err
	}
	s.cond.Broadcast()
}

func (s *spool) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.own
}
