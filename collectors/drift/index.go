package drift

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"irkit.dev/irkit/agent/known"
)

// Index is the merged file system of an image, sorted by path. It holds files without names
// until Close. Not safe for concurrent use.
type Index struct {
	Files int      // paths, implied folders with them
	Notes []string // what of the layers was odd
	s     *sorter
}

// Read reads an image's layers, the lowest first. It holds some 16 MiB and a link table in
// memory, whatever the image; the rest goes to limits.Dir. The error names the layer that
// could not be read, or wraps ErrLimit.
func Read(ctx context.Context, layers []Layer, limits Limits) (*Index, error) {
	r := &reading{Limits: limits.withDefaults(), s: newSorter(limits.Dir), notes: map[string]int{}}
	err := func() error {
		for i, l := range layers {
			if err := r.layer(ctx, i+1, l); err != nil {
				return err
			}
		}
		return r.resolve(ctx)
	}()
	x := &Index{s: r.s}
	if err == nil {
		err = x.merge(ctx, func(File) error { x.Files++; return nil }, r.notes)
	}
	if err != nil {
		return nil, errors.Join(err, r.s.close())
	}
	for _, what := range slices.Sorted(maps.Keys(r.notes)) {
		x.Notes = append(x.Notes, fmt.Sprintf("%d %s", r.notes[what], what))
	}
	return x, nil
}

// Close frees the index's files. It may be called twice.
func (x *Index) Close() error { return x.s.close() }

// resolve gives hard links the content of what they lead to: in their own layer or the nearest
// below. A link may lead to another that stands before it.
func (r *reading) resolve(ctx context.Context) error {
	if len(r.links) == 0 {
		return nil
	}
	targets := map[string][]File{}
	for _, l := range r.links {
		targets[l.target] = nil
	}
	err := r.s.each(ctx, func(rec record) error {
		if _, wanted := targets[rec.key]; !wanted || rec.body[0] != kindFile {
			return nil
		}
		f, err := decode(rec)
		targets[rec.key] = append(targets[rec.key], f)
		return err
	})
	if err != nil {
		return err
	}
	for _, l := range r.links {
		f := l.file
		f.Unresolved = true
		for _, t := range targets[l.target] {
			if t.Layer <= f.Layer && !t.Unresolved {
				own := f
				f = t
				f.Hard, f.HardB64, f.Layer, f.Path, f.PathB64 = own.Hard, own.HardB64, own.Layer, own.Path, own.PathB64
			}
		}
		if f.Unresolved {
			r.note("hard links that lead to nothing")
		}
		if _, wanted := targets[l.key]; wanted {
			targets[l.key] = append(targets[l.key], f)
		}
		if err := r.file(ctx, l.record, f); err != nil {
			return err
		}
	}
	r.links = nil
	return nil
}

func decode(rec record) (f File, err error) {
	if err := json.Unmarshal(rec.body[1:], &f); err != nil {
		return f, fmt.Errorf("read index: %w", err)
	}
	return f, nil
}

// Each gives every path that the merged layers have, a folder before what is below it.
func (x *Index) Each(ctx context.Context, fn func(File) error) error { return x.merge(ctx, fn, nil) }

func (x *Index) merge(ctx context.Context, fn func(File) error, odd map[string]int) error {
	m := &merge{fn: fn, odd: odd, stack: []*frame{{}}}
	err := x.s.each(ctx, m.take)
	if err == nil {
		err = m.settle()
	}
	if err != nil {
		return fmt.Errorf("merge layers: %w", err)
	}
	return nil
}

// Marks are what the worker is told, sorted. An image of more files than known.Most is an
// error that wraps ErrLimit.
func (x *Index) Marks(ctx context.Context, key []byte) ([]uint64, error) {
	m, err := known.NewMarker(key)
	if err != nil {
		return nil, err
	}
	if x.Files > known.Most {
		return nil, fmt.Errorf("%w: %d files, a worker knows %d", ErrLimit, x.Files, known.Most)
	}
	marks := make([]uint64, 0, x.Files)
	err = x.Each(ctx, func(f File) error {
		if k, ok := f.mark(); ok {
			marks = append(marks, m.Mark(k))
		}
		return nil
	})
	slices.Sort(marks)
	return marks, err
}
