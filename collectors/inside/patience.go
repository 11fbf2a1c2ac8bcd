//go:build linux

package inside

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// errStuck says that an answer did not come. What a process shows of its own memory
// (cmdline, environ, maps) waits for that memory, and what lies on a file system in user
// space waits for its server: both can be the target's own doing.
var errStuck = errors.New("did not answer in time: its owner can hold it back")

// patience bounds what waiting may cost. A call that is given up goes on holding a
// thread until its process ends, so only so many are begun.
type patience struct {
	limit time.Duration
	left  atomic.Int32
}

func newPatience(limit time.Duration, stuck int32) *patience {
	p := &patience{limit: limit}
	p.left.Store(stuck)
	return p
}

// await gives what f gives, or errStuck. f must write to nothing that its caller reads.
func await[T any](p *patience, f func() (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	var none T
	if p.left.Load() <= 0 {
		return none, errStuck
	}
	c := make(chan answer, 1)
	go func() {
		var a answer
		a.err = guard(func() (err error) { a.v, err = f(); return err })
		c <- a
	}()
	t := time.NewTimer(p.limit)
	defer t.Stop()
	select {
	case a := <-c:
		return a.v, a.err
	case <-t.C:
		p.left.Add(-1)
		return none, errStuck
	}
}

// timed is a reader whose every read is awaited. After errStuck it gives nothing more.
type timed struct {
	p     *patience
	r     io.Reader
	buf   []byte // of the read at hand; given up with it
	stuck bool
}

func (t *timed) Read(b []byte) (int, error) {
	if t.stuck {
		return 0, errStuck
	}
	if cap(t.buf) < len(b) {
		t.buf = make([]byte, len(b))
	}
	buf := t.buf[:len(b)]
	type result struct {
		n   int
		err error
	}
	got, err := await(t.p, func() (result, error) {
		n, err := t.r.Read(buf)
		return result{n, err}, nil
	})
	if err != nil {
		t.stuck, t.buf = true, nil
		return 0, err
	}
	return copy(b, buf[:got.n]), got.err
}
