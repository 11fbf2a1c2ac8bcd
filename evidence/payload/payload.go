// Package payload reads what a bag holds: an entry's own bytes, and the files that
// describe them. It trusts neither: sizes are limits, and nothing is unpacked to disk.
package payload

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/klauspost/compress/zstd"

	"irkit.dev/irkit/evidence"
)

var (
	// ErrEncoded says that the stored bytes need something that is not here: a key.
	ErrEncoded = errors.New("stored in an encoding that cannot be read here")
	// ErrNoBytes says that an entry has no bytes: it was left out, or impossible.
	ErrNoBytes = errors.New("entry has no bytes")
)

// maxMeta is the largest describing file that is read.
const maxMeta = 256 << 20

// Open gives an entry's own bytes: its parts joined, its compression undone. More bytes than
// the entry announces end in an error, so that a bomb is no more than it says. Digests
// are not compared: that is what irkit verify does.
func Open(bag fs.FS, e evidence.Entry) (io.ReadCloser, error) {
	if len(e.Parts) == 0 {
		return nil, fmt.Errorf("entry %s: %w", e.ID, ErrNoBytes)
	}
	p := &parts{bag: bag, left: e.Parts}
	if e.Encoding == nil {
		return struct {
			io.Reader
			io.Closer
		}{&limited{p, e.Size, e.ID}, p}, nil
	}
	if e.Encoding.Name != "zstd" {
		return nil, fmt.Errorf("entry %s: %s: %w", e.ID, e.Encoding.Name, ErrEncoded)
	}
	z, err := zstd.NewReader(p, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20))
	if err != nil {
		return nil, fmt.Errorf("entry %s: %w", e.ID, err)
	}
	return &unpacked{limited{z, e.Encoding.Size, e.ID}, z, p}, nil
}

type unpacked struct {
	limited
	z *zstd.Decoder
	p *parts
}

func (u *unpacked) Close() error {
	u.z.Close()
	return u.p.Close()
}

// limited fails where its reader gives more than announced.
type limited struct {
	r    io.Reader
	left int64
	id   string
}

func (l *limited) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("entry %s holds more bytes than it says", l.id)
	}
	return n, err
}

// parts reads an entry's files, one after the other.
type parts struct {
	bag  fs.FS
	left []evidence.Part
	f    fs.File
}

func (p *parts) Read(b []byte) (int, error) {
	for {
		if p.f == nil {
			if len(p.left) == 0 {
				return 0, io.EOF
			}
			var err error
			if p.f, err = p.bag.Open(p.left[0].Path); err != nil {
				return 0, err
			}
			p.left = p.left[1:]
		}
		n, err := p.f.Read(b)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := p.Close(); err != nil || n > 0 {
			return n, err
		}
	}
}

func (p *parts) Close() error {
	if p.f == nil {
		return nil
	}
	err := p.f.Close()
	p.f = nil
	return err
}

// JSON reads one describing file into v. An absent one is fs.ErrNotExist.
func JSON(bag fs.FS, name string, v any) error {
	f, err := bag.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMeta))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// Lines calls fn for each line of r, without its LF, until fn fails. The bytes are fn's only
// until it returns. A line longer than 4 MiB is passed over, and counted.
func Lines(r io.Reader, fn func(line []byte) error) (over int, err error) {
	const longest = 4 << 20
	b := bufio.NewReaderSize(r, 64<<10)
	var line []byte
	long := false
	for {
		chunk, err := b.ReadSlice('\n')
		if !long {
			line = append(line, chunk...)
		}
		if len(line) > longest {
			long, line = true, line[:0]
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return over, err
		}
		switch text := bytes.TrimSuffix(line, []byte("\n")); {
		case long:
			over++
		case len(text) > 0:
			if err := fn(text); err != nil {
				return over, err
			}
		}
		if last {
			return over, nil
		}
		line, long = line[:0], false
	}
}

// errEnough ends Lines early.
var errEnough = errors.New("enough")

// Each decodes each line of r into a T, as far as that goes, for at most n lines. bad counts the
// lines that are none.
func Each[T any](r io.Reader, n int, fn func(T)) (bad int, more bool, err error) {
	if n <= 0 {
		n = math.MaxInt
	}
	over, err := Lines(r, func(line []byte) error {
		if n == 0 {
			more = true
			return errEnough
		}
		n--
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			bad++
		} else {
			fn(v)
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return bad + over, more, err
}

// File is Each over one file of the bag. An absent one is fs.ErrNotExist.
func File[T any](bag fs.FS, name string, n int, fn func(T)) (bad int, more bool, err error) {
	f, err := bag.Open(name)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	return Each(f, n, fn)
}

// Entry is Each over an entry's own bytes.
func Entry[T any](bag fs.FS, e evidence.Entry, n int, fn func(T)) (bad int, more bool, err error) {
	r, err := Open(bag, e)
	if err != nil {
		return 0, false, err
	}
	bad, more, err = Each(r, n, fn)
	return bad, more, errors.Join(err, r.Close())
}
