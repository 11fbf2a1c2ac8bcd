package debugger

import (
	"context"
	"io"
	"net"
	"sync"
)

// wires are the connections to the API server, which a test breaks: all at once, or
// each after a number of bytes that came.
type wires struct {
	mu   sync.Mutex
	open map[net.Conn]bool
	next []int // bytes that the next connections live for
}

func (w *wires) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.next) > 0 {
		c = &mortal{Conn: c, left: w.next[0]}
		w.next = w.next[1:]
	}
	w.open[c] = true
	return c, nil
}

func (w *wires) budgets(bytes ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = bytes
}

func (w *wires) breakAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.open {
		_ = c.Close()
		delete(w.open, c)
	}
}

// mortal ends after a number of bytes read.
type mortal struct {
	net.Conn
	left int
}

func (m *mortal) Read(p []byte) (int, error) {
	if m.left <= 0 {
		_ = m.Close()
		return 0, io.ErrUnexpectedEOF
	}
	n, err := m.Conn.Read(p[:min(len(p), m.left)])
	m.left -= n
	return n, err
}
