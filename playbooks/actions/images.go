package actions

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/collectors/beside"
	"irkit.dev/irkit/collectors/drift"
	"irkit.dev/irkit/collectors/images"
)

// How a file system is taken.
const (
	drifting = "drift" // what differs from the image, where that can be read
	entire   = "whole"
)

// FilesystemWord tells what may be said of how a file system is taken.
func FilesystemWord(s string) bool { return s == drifting || s == entire }

// through makes the collectors of one kind through a hand. A file system that is held against
// its image brings the image as evidence too.
func (c *collecting) through(o beside.Options) ([]collectors.Collector, error) {
	if o.Request.Kind != "filesystem" || cmp.Or(c.site.Order.Filesystem, c.files) != drifting {
		one, err := beside.New(o)
		return []collectors.Collector{one}, err
	}
	want := c.wantImage(o.Container)
	get := func(ctx context.Context) (*images.Image, *drift.Index, error) { return c.images.get(ctx, want) }
	one, err := drift.New(drift.Options{Beside: o, Image: func(ctx context.Context) (drift.Subject, error) {
		i, x, err := get(ctx)
		if errors.Is(err, images.ErrNoSource) {
			err = errors.Join(drift.ErrSkip, err)
		}
		if err != nil {
			return drift.Subject{}, err
		}
		return drift.Subject{Index: x, Name: fmt.Sprintf("image %q, %s, from %s", want.Ref, i.Digest, i.From), Notes: i.Notes}, nil
	}})
	out := []collectors.Collector{one}
	if len(c.images.sources.Archives)+len(c.images.sources.Registries) > 0 {
		out = append(out, images.New(images.Options{Container: o.Container, Ordinal: o.Ordinal, Want: want, Get: get}))
	}
	return out, err
}

// wantImage is the image that a container runs, as its status has it.
func (c *collecting) wantImage(container string) images.Want {
	ref, id := "", ""
	for _, s := range c.site.Order.Pod.Spec.Containers {
		if s.Name == container {
			ref = s.Image
		}
	}
	for _, s := range c.site.Order.Pod.Status.ContainerStatuses {
		if s.Name == container {
			id = s.ImageID
		}
	}
	arch := ""
	if n := c.site.Look.Scene.Node; n != nil {
		arch = n.Arch
	}
	return images.Parse(ref, id, arch)
}

// library keeps the images of one step: containers often share one.
type library struct {
	sources images.Sources
	shelf   map[images.Want]*book
}

type book struct {
	image *images.Image
	index *drift.Index
	err   error
}

// get reads an image once. Collectors run one after the other.
func (l *library) get(ctx context.Context, w images.Want) (*images.Image, *drift.Index, error) {
	if b, ok := l.shelf[w]; ok {
		return b.image, b.index, b.err
	}
	b := &book{}
	if b.image, b.err = l.sources.Open(ctx, w); b.err == nil {
		b.index, b.err = drift.Read(ctx, b.image.Layers, drift.Limits{})
	}
	if ctx.Err() != nil {
		return nil, nil, errors.Join(ctx.Err(), b.close())
	}
	if l.shelf == nil {
		l.shelf = map[images.Want]*book{}
	}
	l.shelf[w] = b
	return b.image, b.index, b.err
}

func (b *book) close() error {
	var errs []error
	if b.index != nil {
		errs = append(errs, b.index.Close())
	}
	if b.image != nil {
		errs = append(errs, b.image.Close())
	}
	return errors.Join(errs...)
}

func (l *library) close() error {
	var errs []error
	for _, b := range l.shelf {
		errs = append(errs, b.close())
	}
	l.shelf = nil
	return errors.Join(errs...)
}
