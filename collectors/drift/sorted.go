package drift

import (
	"bufio"
	"cmp"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"
)

// sorter brings any number of records into the order of their paths in bounded memory: what
// does not fit goes to temporary files that have no name, in sorted runs, which are merged
// at the end. In that order a folder stands right before all that is below it.
type sorter struct {
	dir  string
	most int // bytes in memory
	held []record
	size int
	runs []*os.File
}

// record is one path with what is known of it. Among equal paths the layer decides, then the
// order of arrival.
type record struct {
	key   string // path with NUL for /: no name has one
	layer uint32
	seq   uint64
	body  []byte
}

const (
	sorterBytes = 16 << 20
	longest     = 8 << 20 // bytes of one record
	mostRuns    = 48
)

// keyOf is the path as it is sorted; without a leading slash.
func keyOf(p string) string { return strings.ReplaceAll(strings.Trim(p, "/"), "/", "\x00") }

func pathOf(key string) string { return "/" + strings.ReplaceAll(key, "\x00", "/") }

func (a record) compare(b record) int {
	return cmp.Or(strings.Compare(a.key, b.key), cmp.Compare(a.layer, b.layer), cmp.Compare(a.seq, b.seq))
}

func newSorter(dir string) *sorter { return &sorter{dir: dir, most: sorterBytes} }

func (s *sorter) add(ctx context.Context, r record) error {
	if len(r.key)+len(r.body) > longest {
		return fmt.Errorf("a record of %d bytes", len(r.key)+len(r.body))
	}
	s.held = append(s.held, r)
	if s.size += len(r.key) + len(r.body) + 96; s.size < s.most {
		return nil
	}
	return s.spill(ctx)
}

// spill writes what is in memory as one run.
func (s *sorter) spill(ctx context.Context) error {
	if len(s.held) == 0 {
		return nil
	}
	slices.SortFunc(s.held, record.compare)
	f, err := s.write(func(put func(record) error) error {
		for _, r := range s.held {
			if err := put(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	clear(s.held)
	s.held, s.size = s.held[:0], 0
	if s.runs = append(s.runs, f); len(s.runs) < mostRuns {
		return nil
	}
	// Each run that is read has a buffer: many become one.
	if f, err = s.write(func(put func(record) error) error { return s.each(ctx, put) }); err != nil {
		return err
	}
	err = s.close()
	s.runs = []*os.File{f}
	return err
}

// write makes one run of what fill puts, which is sorted already.
func (s *sorter) write(fill func(put func(record) error) error) (*os.File, error) {
	f, err := unnamed(s.dir)
	if err != nil {
		return nil, err
	}
	z := s2.NewWriter(f, s2.WriterConcurrency(1), s2.WriterBlockSize(256<<10))
	var b []byte
	err = fill(func(r record) error {
		b = binary.AppendUvarint(b[:0], uint64(len(r.key)))
		b = append(b, r.key...)
		b = binary.AppendUvarint(b, uint64(r.layer))
		b = binary.AppendUvarint(b, r.seq)
		b = binary.AppendUvarint(b, uint64(len(r.body)))
		b = append(b, r.body...)
		_, err := z.Write(b)
		return err
	})
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("sort: %w", err), f.Close())
	}
	return f, nil
}

// unnamed is a file that is gone when it is closed, or its process ends.
func unnamed(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "irkit-index-")
	if err != nil {
		return nil, fmt.Errorf("open a file for sorting: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("open a file for sorting: %w", err), f.Close())
	}
	return f, nil
}

// each gives all records in order. It may be called again; then nothing may be added in
// between.
func (s *sorter) each(ctx context.Context, fn func(record) error) error {
	slices.SortFunc(s.held, record.compare)
	var sources runs
	for _, f := range s.runs {
		r := &run{r: bufio.NewReaderSize(s2.NewReader(io.NewSectionReader(f, 0, math.MaxInt64), s2.ReaderMaxBlockSize(256<<10)), 4<<10)}
		if err := r.next(); err == nil {
			sources = append(sources, r)
		} else if !errors.Is(err, io.EOF) {
			return fmt.Errorf("read sorted run: %w", err)
		}
	}
	if len(s.held) > 0 {
		sources = append(sources, &run{held: s.held[1:], now: s.held[0]})
	}
	heap.Init(&sources)
	for n := 0; len(sources) > 0; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		first := sources[0]
		if err := fn(first.now); err != nil {
			return err
		}
		switch err := first.next(); {
		case errors.Is(err, io.EOF):
			heap.Pop(&sources)
		case err != nil:
			return fmt.Errorf("read sorted run: %w", err)
		default:
			heap.Fix(&sources, 0)
		}
	}
	return nil
}

// close frees the files. It may be called twice.
func (s *sorter) close() error {
	var errs []error
	for _, f := range s.runs {
		errs = append(errs, f.Close())
	}
	s.runs, s.held = nil, nil
	return errors.Join(errs...)
}

// run is one sorted source.
type run struct {
	r    *bufio.Reader
	held []record
	now  record
}

func (r *run) next() (err error) {
	if r.r == nil {
		if len(r.held) == 0 {
			return io.EOF
		}
		r.now, r.held = r.held[0], r.held[1:]
		return nil
	}
	text := func() []byte {
		n := r.number(&err)
		if err == nil && n > longest {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil
		}
		b := make([]byte, n)
		_, err = io.ReadFull(r.r, b)
		return b
	}
	key, err0 := text(), err
	if err0 != nil {
		return err0
	}
	r.now = record{key: string(key), layer: uint32(r.number(&err)), seq: r.number(&err)}
	r.now.body = text()
	return err
}

func (r *run) number(err *error) uint64 {
	if *err != nil {
		return 0
	}
	v, e := binary.ReadUvarint(r.r)
	*err = e
	return v
}

// runs is a heap of sources by their first record.
type runs []*run

func (h runs) Len() int           { return len(h) }
func (h runs) Less(i, j int) bool { return h[i].now.compare(h[j].now) < 0 }
func (h runs) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *runs) Push(x any) { *h = append(*h, x.(*run)) }

// Pop implements heap.Interface.
func (h *runs) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
