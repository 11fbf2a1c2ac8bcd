// Package collectortest holds what tests of collectors share: a sink that keeps its
// entries in memory, and the suite that every collector must pass.
package collectortest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"time"

	"irkit.dev/irkit/evidence"
)

// Sink is an evidence.Sink in memory. It checks each artifact as a bag would.
// Safe for concurrent use.
type Sink struct {
	mu    sync.Mutex
	Items []Item
}

// Item is one entry with its bytes.
type Item struct {
	evidence.Artifact
	Entry evidence.Entry
	Bytes []byte
}

var plain = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

// Add keeps the artifact. The contract is evidence.Sink's.
func (s *Sink) Add(ctx context.Context, a evidence.Artifact, r io.Reader) (evidence.Entry, error) {
	if err := check(a, r); err != nil {
		return evidence.Entry{}, err
	}
	if err := ctx.Err(); err != nil {
		return evidence.Entry{}, err
	}
	e := evidence.Entry{
		Kind: a.Kind, Section: a.Section, Container: a.Container, Ordinal: a.Ordinal, Status: evidence.Collected,
		MediaType: a.MediaType, Source: a.Source, Trust: a.Trust, Class: a.Class, Volatility: a.Volatility,
		Started: a.Started, Finished: time.Now().UTC(),
	}
	var b bytes.Buffer
	var err error
	if a.Absent != nil {
		e.Status, e.Reason = a.Absent.Status, a.Absent.Reason
	} else {
		_, err = io.Copy(&b, r)
		e.Size, e.SHA256 = int64(b.Len()), sha256.Sum256(b.Bytes())
		if t, ok := r.(interface{ Trailer() evidence.Trailer }); ok {
			trailer := t.Trailer()
			e.Notes = trailer.Notes
			if trailer.Changed {
				e.Status = evidence.Changed
			}
		}
		if err != nil {
			e.Status, e.Reason = evidence.Truncated, err.Error()
			err = fmt.Errorf("add %s: %w", a.Kind, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.ID = fmt.Sprintf("%04d", len(s.Items)+1)
	s.Items = append(s.Items, Item{a, e, b.Bytes()})
	return e, err
}

func check(a evidence.Artifact, r io.Reader) error {
	var errs []error
	for what, v := range map[string]string{"kind": a.Kind, "ordinal": a.Ordinal} {
		if !plain.MatchString(v) {
			errs = append(errs, fmt.Errorf("%s %q: want [a-z0-9.-]", what, v))
		}
	}
	if a.Absent == nil && !plain.MatchString(a.Ext) {
		errs = append(errs, fmt.Errorf("ext %q: want [a-z0-9.-]", a.Ext))
	}
	for what, v := range map[string]string{"section": string(a.Section), "trust": string(a.Trust), "class": string(a.Class), "source": a.Source.How} {
		if v == "" {
			errs = append(errs, fmt.Errorf("%s: none", what))
		}
	}
	if a.Volatility <= 0 {
		errs = append(errs, fmt.Errorf("volatility %d", a.Volatility))
	}
	switch {
	case a.Absent == nil && r == nil:
		errs = append(errs, errors.New("neither bytes nor an absence"))
	case a.Absent != nil && r != nil:
		errs = append(errs, errors.New("bytes and an absence"))
	case a.Absent != nil && a.Absent.Reason == "":
		errs = append(errs, errors.New("absent without a reason"))
	case a.Absent != nil && a.Absent.Status != evidence.LeftOut && a.Absent.Status != evidence.Impossible:
		errs = append(errs, fmt.Errorf("absent with status %q", a.Absent.Status))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("artifact %s: %w", a.Kind, err)
	}
	return nil
}

// Kind is the items of one kind.
func (s *Sink) Kind(kind string) []Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Item
	for _, i := range s.Items {
		if i.Kind == kind {
			found = append(found, i)
		}
	}
	return found
}

// Contains reports the kinds whose bytes, reasons or notes hold a text.
func (s *Sink) Contains(text string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kinds []string
	for _, i := range s.Items {
		said := fmt.Sprintf("%+v %+v", i.Artifact, i.Entry)
		if bytes.Contains(i.Bytes, []byte(text)) || bytes.Contains([]byte(said), []byte(text)) {
			kinds = append(kinds, i.Kind)
		}
	}
	return kinds
}
