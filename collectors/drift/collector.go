package drift

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/collectors/beside"
	"irkit.dev/irkit/evidence"
)

// Subject is the image that a container is held against.
type Subject struct {
	Index *Index
	Name  string // for people: its reference or digest, and where it was read
	Notes []string
	Trust evidence.Trust
}

// ErrSkip says that no image was to be looked for: the whole file system comes, and nothing
// is missing that was wanted.
var ErrSkip = errors.New("no image was to be looked for")

// Options say what is compared.
type Options struct {
	Beside beside.Options // of the request for the file system
	// Image gives the image; an error, that may wrap ErrSkip, says why there is none.
	Image func(context.Context) (Subject, error)
	Dir   string // for sorting
}

// Collector collects a container's file system as what differs from its image: the index has
// every name with its digest, the tar the bytes of what was added or changed, and
// filesystem differences are listed in the artifact image-drift. Where the image cannot be
// read it collects the whole file system, and image-drift says why.
type Collector struct {
	o      Options
	inside *beside.Collector
}

// New makes one; the error is beside.New's.
func New(o Options) (*Collector, error) {
	c, err := beside.New(o.Beside)
	return &Collector{o, c}, err
}

// Traits are those of the file system's own collector.
func (c *Collector) Traits() collectors.Traits { return c.inside.Traits() }

// Kind of the artifact.
const Kind = "image-drift"

// artifact begins the entry.
func (c *Collector) artifact() evidence.Artifact {
	return evidence.Artifact{
		Kind: Kind, Section: evidence.Filesystem, Container: c.o.Beside.Container, Ordinal: c.o.Beside.Ordinal, Ext: "jsonl", MediaType: "application/x-ndjson",
		Source: evidence.Source{How: "agent", Detail: "file system held against its image", Image: c.o.Beside.Image}, Trust: c.o.Beside.Trust,
		Class: evidence.Internal, Volatility: collectors.RankFilesystem, Compress: true,
	}
}

// Collect implements collectors.Collector.
func (c *Collector) Collect(ctx context.Context, t evidence.Target, sink evidence.Sink) error {
	image, err := c.o.Image(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a := c.artifact()
		a.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: "the whole file system was taken instead: " + err.Error()}
		if errors.Is(err, ErrSkip) {
			a.Absent.Status = evidence.LeftOut
		}
		_, err = sink.Add(ctx, a, nil)
		return errors.Join(err, c.inside.Collect(ctx, t, sink))
	}
	o, notes := c.o.Beside, image.Notes
	if err := c.tell(ctx, image.Index); err == nil {
		o.Request.Known = true
	} else if errors.Is(err, agent.ErrGone) || ctx.Err() != nil {
		return fmt.Errorf("tell the worker what the image has: %w", err)
	} else {
		notes = append(notes, "the whole file system was taken: the worker was not told what the image has: "+err.Error())
	}
	inside, err := beside.New(o)
	if err != nil {
		return err
	}
	walk := NewWalk(c.o.Dir)
	defer walk.Close()
	watched := &watching{Sink: sink, walk: walk}
	took := inside.Collect(ctx, t, watched)
	if !watched.seen {
		a := c.artifact()
		a.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: "no index of the file system came"}
		_, err := sink.Add(ctx, a, nil)
		return errors.Join(took, err)
	}
	return errors.Join(took, c.compare(ctx, image, walk, notes, sink))
}

// tell sends the marks.
func (c *Collector) tell(ctx context.Context, x *Index) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	marks, err := x.Marks(ctx, key)
	if err != nil {
		return err
	}
	for begin := true; begin || len(marks) > 0; begin = false {
		n := min(len(marks), agent.KnownPiece/8)
		k := agent.Known{Begin: begin, Last: n == len(marks), Marks: make([]byte, 0, 8*n)}
		if begin {
			k.Key = key
		}
		for _, v := range marks[:n] {
			k.Marks = binary.BigEndian.AppendUint64(k.Marks, v)
		}
		if err := c.o.Beside.Hand.Know(ctx, k); err != nil {
			return err
		}
		marks = marks[n:]
	}
	return nil
}

// compare files the comparison while it is made.
func (c *Collector) compare(ctx context.Context, image Subject, walk *Walk, notes []string, sink evidence.Sink) error {
	r, w := io.Pipe()
	done := make(chan struct{})
	defer func() {
		_ = r.Close()
		<-done // index and walk are in use until then
	}()
	body := &listing{PipeReader: r}
	for _, gap := range walk.Gaps {
		notes = append(notes, "what is not there may only not have been seen: "+gap)
	}
	go func() {
		defer close(done)
		sum, err := List(ctx, image.Index, walk, w)
		body.mu.Lock()
		body.notes = append([]string{"held against " + image.Name, sum.String()}, notes...)
		body.mu.Unlock()
		w.CloseWithError(err)
	}()
	if _, err := sink.Add(ctx, c.artifact(), body); err != nil {
		return fmt.Errorf("hold file system of %s against its image: %w", c.o.Beside.Ordinal, err)
	}
	return nil
}

// String is the summary in a sentence.
func (s Summary) String() string {
	text := fmt.Sprintf("%d added, %d changed, %d deleted, %d as in the image", s.Added, s.Changed, s.Deleted, s.Same)
	for _, more := range []struct {
		n    int
		what string
	}{
		{s.Unknown, "could not be compared"}, {s.Runtime, "of the added are folders that the runtime makes for mounts"},
		{s.Mounted, "stand on other mounts"}, {s.Hidden, "of the image are hidden below mounts"},
	} {
		if more.n > 0 {
			text += fmt.Sprintf("; %d %s", more.n, more.what)
		}
	}
	return text
}

// listing is what the sink reads.
type listing struct {
	*io.PipeReader
	mu    sync.Mutex
	notes []string
}

// Trailer answers after the end.
func (l *listing) Trailer() evidence.Trailer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return evidence.Trailer{Size: -1, Notes: l.notes}
}

// watching is a sink that reads indexes as they pass.
type watching struct {
	evidence.Sink
	walk *Walk
	seen bool
}

// Add implements evidence.Sink.
func (w *watching) Add(ctx context.Context, a evidence.Artifact, r io.Reader) (evidence.Entry, error) {
	if a.Kind != "filesystem-index" || r == nil {
		e, err := w.Sink.Add(ctx, a, r)
		if e.Status == evidence.Truncated {
			w.walk.Gaps = append(w.walk.Gaps, a.Kind+" is truncated: "+e.Reason)
		}
		for _, n := range e.Notes {
			if strings.HasPrefix(n, "tree cut short") {
				w.walk.Gaps = append(w.walk.Gaps, n)
			}
		}
		return e, err
	}
	w.seen = true
	lines, to := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if w.walk.Read(ctx, lines) != nil { // it is a gap of the walk; the index itself is filed all the same
			_, _ = io.Copy(io.Discard, lines)
		}
	}()
	e, err := w.Sink.Add(ctx, a, &teed{r: r, to: to})
	to.CloseWithError(io.ErrUnexpectedEOF) // at the end it is closed already
	<-done
	return e, err
}

// teed passes on what is read, and what the reader says at its end.
type teed struct {
	r  io.Reader
	to *io.PipeWriter
}

func (t *teed) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		_, _ = t.to.Write(p[:n])
	}
	if err != nil {
		t.to.CloseWithError(err)
	}
	return n, err
}

// Trailer implements what a sink asks of a reader.
func (t *teed) Trailer() evidence.Trailer {
	if s, ok := t.r.(interface{ Trailer() evidence.Trailer }); ok {
		return s.Trailer()
	}
	return evidence.Trailer{Size: -1}
}
