//go:build linux

package inside

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
)

// memory is what a process has in memory, read while it runs on (proc_pid_mem(5)).
type memory struct {
	mem, pages *os.File // pages is nil where there is no pagemap
	wait       *patience
	page       uint64
	buf        []byte
}

// block is how much is read of a process's memory at once.
const block = 256 << 10

func (m *memory) Close() {
	_ = m.mem.Close()
	if m.pages != nil {
		_ = m.pages.Close()
	}
}

// run is a stretch of pages that are in memory or on swap.
type run struct{ from, to uint64 }

// present gives the runs of used pages between two addresses, in order, and ok false
// where the kernel does not tell (proc_pid_pagemap(5): bit 63 is present, 62 swapped).
// It is asked before anything is read: reading a page that was never used would make the
// process have it, and one that a file system in user space holds back would not come.
func (m *memory) present(ctx context.Context, from, to uint64, fn func(run) error) (ok bool, err error) {
	if m.pages == nil {
		return false, nil
	}
	const entry, many = 8, 8 << 10
	var open *run
	for at := from; at < to; {
		if err := ctx.Err(); err != nil {
			return true, err
		}
		n := min((to-at)/m.page, many)
		if n == 0 {
			break
		}
		b, err := await(m.wait, func() ([]byte, error) {
			b := make([]byte, n*entry)
			k, err := m.pages.ReadAt(b, int64(at/m.page*entry))
			if k < len(b) && err == nil {
				err = errors.New("pagemap ends early")
			}
			return b[:k/entry*entry], err
		})
		if len(b) == 0 {
			if at == from {
				return false, nil
			}
			return true, err
		}
		for ; len(b) > 0; b, at = b[entry:], at+m.page {
			if binary.NativeEndian.Uint64(b)>>62 == 0 {
				if open != nil {
					if err := fn(*open); err != nil {
						return true, err
					}
					open = nil
				}
				continue
			}
			if open == nil {
				open = &run{from: at}
			}
			open.to = at + m.page
		}
	}
	if open != nil {
		return true, fn(*open)
	}
	return true, nil
}

// copy passes the bytes between two addresses to fn, in order, whole blocks at most. Pages
// that were never used, and unread bytes, are zeros.
func (m *memory) copy(ctx context.Context, from, to uint64, fn func([]byte) error) (unread uint64, err error) {
	at := from
	ok, err := m.present(ctx, from, to, func(r run) error {
		if err := zeros(r.from-at, fn); err != nil {
			return err
		}
		n, err := m.read(ctx, r.from, r.to, fn)
		unread, at = unread+n, r.to
		return err
	})
	if err != nil {
		return unread, err
	}
	if !ok {
		return m.read(ctx, from, to, fn)
	}
	return unread, zeros(to-at, fn)
}

var nothing [64 << 10]byte

func zeros(n uint64, fn func([]byte) error) error {
	for n > 0 {
		k := min(n, uint64(len(nothing)))
		if err := fn(nothing[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// read passes the bytes between two addresses to fn. What the kernel refuses counts as
// unread and as zeros; a process that ended, or that holds its memory back, is an error.
func (m *memory) read(ctx context.Context, from, to uint64, fn func([]byte) error) (unread uint64, err error) {
	for at := from; at < to; {
		if err := ctx.Err(); err != nil {
			return unread, err
		}
		want := min(to-at, block)
		b, err := m.at(at, want)
		if len(b) == 0 && errors.Is(err, errStuck) {
			return unread, err
		}
		if len(b) == 0 && (errors.Is(err, io.EOF) || gone(err)) {
			return unread, errEnded
		}
		if len(b) == 0 { // EIO or EFAULT: this page is not to be had
			skip := min(m.page-at%m.page, to-at)
			if err := zeros(skip, fn); err != nil {
				return unread, err
			}
			unread += skip
			at += skip
			continue
		}
		if err := fn(b); err != nil {
			return unread, err
		}
		at += uint64(len(b))
	}
	return unread, nil
}

var errEnded = errors.New("the process ended while its memory was read")

// at reads up to n bytes at an address; what it gives is overwritten by the next call.
func (m *memory) at(at, n uint64) ([]byte, error) {
	if m.buf == nil {
		m.buf = make([]byte, block)
	}
	buf := m.buf[:n]
	k, err := await(m.wait, func() (int, error) {
		return m.mem.ReadAt(buf, int64(at))
	})
	if errors.Is(err, errStuck) {
		m.buf = nil // it is still being written to
		return nil, err
	}
	return buf[:k], err
}
