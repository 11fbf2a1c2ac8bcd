//go:build e2e

package e2e

import (
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

// proxy stands between irkit and the API server. TLS passes through it untouched; it only
// counts what comes from the server, and breaks what it was told to break.
type proxy struct {
	listener net.Listener
	server   string
	// life says after how many bytes from the server the next connection ends; 0: never.
	life func() int64
	// last, when set, is the total on one connection after which nobody gets through
	// any more: every connection ends, and new ones are refused.
	last int64

	mu    sync.Mutex
	open  map[net.Conn]bool
	cuts  int
	bytes int64
	dead  bool
}

// newProxy starts one and answers a kubeconfig like that of kube which leads through it.
func newProxy(t *testing.T, kube string, life func() int64, last int64) (*proxy, string) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(kube)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, life: life, last: last, open: map[net.Conn]bool{}}
	for _, c := range config.Clusters {
		at, err := url.Parse(c.Server)
		if err != nil {
			t.Fatal(err)
		}
		p.server, c.TLSServerName = at.Host, at.Hostname()
		at.Host = l.Addr().String()
		c.Server = at.String()
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		p.serve()
	}()
	t.Cleanup(func() {
		p.end()
		<-served
	})
	return p, path
}

func (p *proxy) serve() {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		all.Go(func() { p.pass(near) })
	}
}

func (p *proxy) pass(near net.Conn) {
	far, err := net.Dial("tcp", p.server)
	if err != nil {
		_ = near.Close()
		return
	}
	life := p.keep(near, far)
	defer p.drop(near, far)
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.(*net.TCPConn).CloseWrite()
	}()
	buf := make([]byte, 16<<10)
	for total := int64(0); ; {
		n, err := far.Read(buf)
		if life > 0 && total+int64(n) >= life {
			n, err = int(life-total), io.ErrUnexpectedEOF
		}
		if n > 0 {
			if _, err := near.Write(buf[:n]); err != nil {
				return
			}
			total += int64(n)
		}
		over := p.count(int64(n), total)
		if over || err == io.ErrUnexpectedEOF {
			p.cut(near)
		}
		if over {
			p.end()
		}
		if over || err != nil {
			return
		}
	}
}

func (p *proxy) keep(near, far net.Conn) (life int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[near], p.open[far] = true, true
	if p.dead {
		_ = near.Close()
	}
	if p.life != nil {
		life = p.life()
	}
	return life
}

func (p *proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(p.open, c)
	}
}

func (p *proxy) count(n, total int64) (over bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += n
	return p.last > 0 && total >= p.last
}

// cut ends a connection; every other time with a reset instead of an end.
func (p *proxy) cut(near net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts++
	if p.cuts%2 == 0 {
		_ = near.(*net.TCPConn).SetLinger(0)
	}
}

// end breaks everything for good.
func (p *proxy) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	_ = p.listener.Close()
	for c := range p.open {
		_ = c.Close()
	}
}

// was says how many connections were cut, and how much passed.
func (p *proxy) was() (cuts int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts, p.bytes
}
