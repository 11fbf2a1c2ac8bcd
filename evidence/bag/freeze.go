package bag

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
)

// Frozen is a bundle's payload as the disk holds it: nothing will be added.
type Frozen struct {
	Entries int   // collected, truncated, left out and impossible
	Files   int   // of the payload
	Bytes   int64 // of these files
	parts   []evidence.Part
}

// ChangedPart is a stored file that is not what was written.
type ChangedPart struct {
	Entry string
	Want  evidence.Part  // as it was hashed on arrival
	Got   *evidence.Part // as the disk holds it now; nil: it is gone
}

// ChangedError lists the payload that changed on the local disk after it arrived.
type ChangedError struct{ Parts []ChangedPart }

// Error names the first of the files and counts the others.
func (e *ChangedError) Error() string {
	s := fmt.Sprintf("stored payload is not what arrived: %s", e.Parts[0].Want.Path)
	if n := len(e.Parts) - 1; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

// Freeze ends adding: it waits for every Add under way, files what has no entry, frees the
// reserve, and reads the stored payload back from disk to compare it with what was hashed on
// arrival. A difference fails with a *ChangedError; Amend then makes the entries tell it,
// and Freeze may be called again, as it may be after any error. Add fails from here on.
func (w *Writer) Freeze(ctx context.Context) (Frozen, error) {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.arriving.Wait()
	frozen, err := w.freeze(ctx)
	if err != nil {
		return frozen, fmt.Errorf("freeze bundle %s: %w", w.id, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen = &frozen
	return frozen, nil
}

func (w *Writer) freeze(ctx context.Context) (Frozen, error) {
	if err := unsealed(w.root); err != nil {
		return Frozen{}, err
	}
	if err := w.FreeReserve(); err != nil {
		return Frozen{}, err
	}
	if err := w.adopt(ctx); err != nil {
		return Frozen{}, err
	}
	entries := w.Entries()
	f := Frozen{Entries: len(entries)}
	var owners []string
	var want []evidence.Part
	for _, e := range entries {
		for _, p := range e.Parts {
			owners, want = append(owners, e.ID), append(want, p)
		}
	}
	got, err := w.rehash(ctx, want)
	if err != nil {
		return f, err
	}
	var changed ChangedError
	for i, g := range got {
		switch {
		case g == nil || g.SHA256 != want[i].SHA256 || g.Size != want[i].Size || g.SHA512 != want[i].SHA512:
			changed.Parts = append(changed.Parts, ChangedPart{owners[i], want[i], g})
		default:
			f.Files, f.Bytes, f.parts = f.Files+1, f.Bytes+g.Size, append(f.parts, *g)
		}
	}
	if len(changed.Parts) > 0 {
		return f, &changed
	}
	return f, nil
}

// Amend rewrites the entries of changed payload so that they tell the truth about what the
// disk holds: truncated, with the digests that arrived and those that are there. It leaves
// all other lines as they were. Without it a damaged disk would leave no seal at all.
func (w *Writer) Amend(ctx context.Context, changed *ChangedError) error {
	byEntry := map[string][]ChangedPart{}
	for _, c := range changed.Parts {
		byEntry[c.Entry] = append(byEntry[c.Entry], c)
	}
	entries := w.Entries()
	for i, e := range entries {
		if parts := byEntry[e.ID]; parts != nil {
			amended, err := w.amendOne(ctx, e, parts)
			if err != nil {
				return fmt.Errorf("amend entry %s: %w", e.ID, err)
			}
			entries[i] = amended
		}
	}
	if err := w.rewrite(entries); err != nil {
		return fmt.Errorf("amend %s: %w", evidence.EntriesJSONL, err)
	}
	return nil
}

func (w *Writer) amendOne(ctx context.Context, e evidence.Entry, changed []ChangedPart) (evidence.Entry, error) {
	gone := map[string]bool{}
	var notes []string
	for _, c := range changed {
		now := "is gone"
		if c.Got != nil {
			now = fmt.Sprintf("now %d bytes, %s", c.Got.Size, c.Got.SHA256)
		}
		gone[c.Want.Path] = c.Got == nil
		notes = append(notes, fmt.Sprintf("%s: arrived as %d bytes, %s; %s", c.Want.Path, c.Want.Size, c.Want.SHA256, now))
	}
	var paths []string
	for _, p := range e.Parts {
		if !gone[p.Path] {
			paths = append(paths, p.Path)
		}
	}
	parts, sum, size, err := w.hashParts(ctx, paths)
	if err != nil {
		return e, err
	}
	e.Parts, e.SHA256, e.Size, e.Encoding = parts, sum, size, nil
	e.Status, e.Reason = evidence.Truncated, "stored bytes changed on the local disk after they arrived"
	e.Notes = append(append([]string(nil), e.Notes...), notes...)
	return e, nil
}

// strangers refuses a bundle that holds what it could not list or what a verifier would
// refuse: links, special files, names of no form of ours.
func (w *Writer) strangers() (tags []string, err error) {
	var dirs []string
	err = fs.WalkDir(w.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			dirs = append(dirs, p)
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%q is no regular file: move it out of the bundle", p)
		case strings.HasPrefix(p, evidence.PayloadDir+"/"), outsideSeal(p):
			return nil
		case !tagForm.MatchString(p):
			return fmt.Errorf("%q was not written by irkit: move it out of the bundle", p)
		}
		tags = append(tags, p)
		return nil
	})
	// A folder whose only file never came would be there after one copy and gone after
	// another. Removing one that is not empty fails, as it should.
	for _, d := range slices.Backward(dirs) {
		if d != "." && d != evidence.PayloadDir && w.root.Remove(d) != nil {
			continue
		}
	}
	return tags, err
}

// outsideSeal are the seal's own files, which cannot be in what they sign.
func outsideSeal(p string) bool {
	return p == evidence.TagManifestSHA256 || p == evidence.SealSignature || p == evidence.SealTimestamp
}
