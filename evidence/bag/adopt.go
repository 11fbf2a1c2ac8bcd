package bag

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"irkit.dev/irkit/evidence"
)

const sessionEnded = "session ended while it was written"

var payloadName = regexp.MustCompile(`^([0-9]{4,})-([cie][0-9]{1,4}|pod)-([a-z0-9-]+)\.([a-z0-9.-]+?)(\.part([0-9]{4,}))?$`)

// orphan is an artifact's payload without an entry.
type orphan struct {
	id    string
	index int
	name  []string // of its name: section, ordinal, kind, extension
	parts []string // paths in order
}

// adopt files payload that no entry tells of: a session ended while it was written.
func (w *Writer) adopt(ctx context.Context) error {
	orphans, err := w.orphans()
	if err != nil {
		return err
	}
	for _, o := range orphans {
		if err := w.adoptOne(ctx, o); err != nil {
			return fmt.Errorf("file entry %s, which an earlier session left: %w", o.id, err)
		}
	}
	if err := w.kase.RemoveAll(w.id + ".arriving"); err != nil {
		return fmt.Errorf("clear what an earlier session announced: %w", err)
	}
	return nil
}

func (w *Writer) orphans() ([]orphan, error) {
	known, taken := map[string]bool{}, map[string]bool{}
	for _, e := range w.entries {
		taken[e.ID] = true
		for _, p := range e.Parts {
			known[p.Path] = true
		}
	}
	byID := map[string]*orphan{}
	err := fs.WalkDir(w.root.FS(), evidence.PayloadDir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || known[p] {
			return err
		}
		m := payloadName.FindStringSubmatch(path.Base(p))
		section := evidence.Section(path.Base(path.Dir(p)))
		if m == nil || taken[m[1]] || !d.Type().IsRegular() || !slices.Contains(sections, section) || strings.Count(p, "/") != 2 {
			return fmt.Errorf("%q was not written by irkit: move it out of the bundle", p)
		}
		o := byID[m[1]]
		if o == nil {
			o = &orphan{id: m[1], name: []string{string(section), m[2], m[3], m[4]}}
			o.index, _ = strconv.Atoi(m[1])
			byID[m[1]] = o
		}
		o.parts = append(o.parts, p)
		return nil
	})
	var all []orphan
	for _, o := range byID {
		slices.SortFunc(o.parts, func(a, b string) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
		})
		all = append(all, *o)
	}
	slices.SortFunc(all, func(a, b orphan) int { return a.index - b.index })
	return all, err
}

func (w *Writer) adoptOne(ctx context.Context, o orphan) error {
	w.mu.Lock()
	w.next = max(w.next, o.index)
	w.mu.Unlock()
	e, ok := w.announced(o.id)
	if !ok {
		e = evidence.Entry{
			ID: o.id, Section: evidence.Section(o.name[0]), Ordinal: o.name[1], Kind: o.name[2],
			Class: evidence.Restricted, Started: w.now(),
			Notes: []string{"where it came from is not known: only its name was left"},
		}
	}
	var err error
	if e.Parts, e.SHA256, e.Size, err = w.hashParts(ctx, o.parts); err != nil {
		return err
	}
	e.Status, e.Reason, e.Finished, e.Encoding = evidence.Truncated, sessionEnded, w.now(), nil
	if strings.HasSuffix(o.name[3], ".zst") {
		e.Notes = append(e.Notes, unfinishedFrame)
	}
	if _, err := w.file(e, nil); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, fmt.Sprintf("entry %s (%s) was being written when a session ended; what came is kept as truncated", e.ID, e.Kind))
	return nil
}
