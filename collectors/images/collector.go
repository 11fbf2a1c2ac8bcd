package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/collectors/drift"
	"irkit.dev/irkit/evidence"
)

// Options say whose image is evidence, and where it was found.
type Options struct {
	Container, Ordinal string
	Want               Want
	// Get gives the image and the index of its layers; it may be asked more than once.
	Get func(context.Context) (*Image, *drift.Index, error)
}

// Collector files an image: its manifest and configuration byte for byte, and the merged files
// of its layers with digests (image-index). The layers' own bytes stay where they are: the
// manifest has their digests.
type Collector struct{ o Options }

// New makes one.
func New(o Options) *Collector { return &Collector{o} }

// Traits implements collectors.Collector.
func (c *Collector) Traits() collectors.Traits {
	return collectors.Traits{Name: "image-" + c.o.Ordinal, Volatility: collectors.RankObjects + 1}
}

func (c *Collector) artifact(kind, ext, media, from string) evidence.Artifact {
	return evidence.Artifact{
		Kind: kind, Section: evidence.Outside, Container: c.o.Container, Ordinal: c.o.Ordinal, Ext: ext, MediaType: media,
		Source: evidence.Source{How: "responder", Detail: from}, OrigName: []byte(c.o.Want.Ref), Trust: evidence.TrustGiven,
		Class: evidence.Internal, Volatility: collectors.RankObjects + 1, Compress: ext == "jsonl",
	}
}

// Collect implements collectors.Collector. An image that cannot be had is an entry that says
// why.
func (c *Collector) Collect(ctx context.Context, _ evidence.Target, sink evidence.Sink) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	i, x, err := c.o.Get(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a := c.artifact("image-manifest", "json", "application/json", "")
		a.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: err.Error()}
		if errors.Is(err, ErrNoSource) {
			a.Absent.Status = evidence.LeftOut
		}
		_, err = sink.Add(ctx, a, nil)
		return err
	}
	var errs []error
	add := func(a evidence.Artifact, r io.Reader) {
		if _, err := sink.Add(ctx, a, r); err != nil {
			errs = append(errs, fmt.Errorf("file %s of %s: %w", a.Kind, c.o.Ordinal, err))
		}
	}
	a := c.artifact("image-manifest", "json", "application/json", i.From)
	notes := append([]string{fmt.Sprintf("digest %s, %d layers, %d paths", i.Digest, len(i.Layers), x.Files)}, append(i.Notes, x.Notes...)...)
	add(a, noted{bytes.NewReader(i.Manifest), notes})
	a.Kind, a.Class = "image-config", evidence.Restricted // its environment may hold secrets
	add(a, noted{bytes.NewReader(i.Config), []string{"digest " + digestOf(i.Config)}})
	a = c.artifact("image-index", "jsonl", "application/x-ndjson", i.From)
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(x.Lines(ctx, w))
	}()
	add(a, noted{r, x.Notes})
	_ = r.Close()
	<-done
	return errors.Join(errs...)
}

// noted adds notes to an entry.
type noted struct {
	io.Reader
	notes []string
}

// Trailer answers after the end.
func (n noted) Trailer() evidence.Trailer { return evidence.Trailer{Size: -1, Notes: n.notes} }
