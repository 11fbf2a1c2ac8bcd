package verify

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"irkit.dev/irkit/evidence"
)

// entries holds meta/entries.jsonl against the manifests: every payload file belongs to
// exactly one entry, with size and digests as listed.
func (v *verification) entries(ctx context.Context) error {
	if _, ok := v.b.files[evidence.EntriesJSONL]; !ok {
		return nil
	}
	m256, _ := v.b.list(evidence.ManifestSHA256)
	m512, _ := v.b.list(evidence.ManifestSHA512)
	owner, ids := map[string]bool{}, map[string]bool{}
	err := v.lines(ctx, v.b.tree, evidence.EntriesJSONL, func(n int, line []byte) bool {
		var e evidence.Entry
		if err := json.Unmarshal(line, &e); err != nil {
			v.f.add("entries", evidence.EntriesJSONL, "line %d: %v", n+1, err)
			return true
		}
		v.r.Entries++
		if len(ids) >= maxFiles {
			v.f.add("too-much", evidence.EntriesJSONL, "more than %d entries", maxFiles)
			return false
		}
		if ids[e.ID] {
			v.f.add("entries", evidence.EntriesJSONL, "line %d: entry %s stands there before", n+1, e.ID)
		}
		ids[e.ID] = true
		v.status(e)
		for _, p := range e.Parts {
			v.part(e, p, m256, m512, owner)
		}
		return true
	})
	for p := range m256.sums {
		if !owner[p] {
			v.f.add("entries", p, "has no entry in %s", evidence.EntriesJSONL)
		}
	}
	v.field("Irkit-Entries", fmt.Sprint(v.r.Entries))
	if err == nil && v.o.Deep {
		err = v.deep(ctx)
	}
	return err
}

func (v *verification) status(e evidence.Entry) {
	switch e.Status {
	case evidence.Collected, evidence.Truncated, evidence.Changed:
		v.r.Statuses[e.Status]++
	case evidence.LeftOut, evidence.Impossible:
		v.r.Statuses[e.Status]++
		if len(e.Parts) > 0 {
			v.f.add("entries", evidence.EntriesJSONL, "entry %s is %s and has bytes", e.ID, e.Status)
		}
	default:
		v.f.add("entries", evidence.EntriesJSONL, "entry %s has status %q", e.ID, e.Status)
	}
	var size int64
	for _, p := range e.Parts {
		size += p.Size
	}
	if size != e.Size || len(e.Parts) == 1 && e.Parts[0].SHA256 != e.SHA256 {
		v.f.add("entries", evidence.EntriesJSONL, "entry %s: its size or digest is not that of its parts", e.ID)
	}
}

func (v *verification) part(e evidence.Entry, p evidence.Part, m256, m512 manifest, owner map[string]bool) {
	switch sum, listed := m256.sums[p.Path]; {
	case !listed:
		v.f.add("entries", p.Path, "entry %s names it, the manifest does not", e.ID)
		return
	case owner[p.Path]:
		v.f.add("entries", p.Path, "belongs to two entries")
	case sum != p.SHA256.Hex(), p.SHA512 != "" && p.SHA512 != m512.sums[p.Path]:
		v.f.add("entries", p.Path, "entry %s gives another digest than the manifest", e.ID)
	case v.b.files[p.Path] != p.Size:
		v.f.add("entries", p.Path, "entry %s says %d bytes", e.ID, p.Size)
	}
	owner[p.Path] = true
}

// lines calls fn for each line of a JSON lines file, without its LF, until fn says no.
// A line that is too long, unfinished or not printable ASCII is a finding and ends it.
func (v *verification) lines(ctx context.Context, t *tree, name string, fn func(n int, line []byte) bool) error {
	file, err := t.open(name, false)
	if err != nil {
		v.f.add("unreadable", name, "%v", err)
		return nil
	}
	defer file.Close()
	reason, err := eachLine(whileAlive{ctx, file}, fn)
	if reason != "" {
		v.f.add("lines", name, "%s", reason)
	}
	return err
}

// eachLine reads lines; the reason says why what r holds is no JSON lines file.
func eachLine(r io.Reader, fn func(n int, line []byte) bool) (reason string, err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	for n := 0; ; n++ {
		var line []byte
		for {
			chunk, err := br.ReadSlice('\n')
			line = append(line, chunk...)
			if len(line) > maxLine {
				return fmt.Sprintf("line %d is longer than %d bytes", n+1, maxLine), nil
			}
			if err == nil {
				break
			}
			if errors.Is(err, io.EOF) && len(line) == 0 {
				return "", nil
			}
			if errors.Is(err, io.EOF) {
				return fmt.Sprintf("line %d is not finished", n+1), nil
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return "", err
			}
		}
		line = line[:len(line)-1]
		for _, c := range line {
			if c < ' ' || c > '~' {
				return fmt.Sprintf("line %d is not printable ASCII", n+1), nil
			}
		}
		if !fn(n, line) {
			return "", nil
		}
	}
}
