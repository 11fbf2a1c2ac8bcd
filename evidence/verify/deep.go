package verify

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"irkit.dev/irkit/evidence"
)

// deep reads each entry as a whole: its parts joined have the entry's digest, and what
// they unpack to has the digest of what was compressed. It unpacks no further than the entry
// says, so that a bomb goes off as a finding.
func (v *verification) deep(ctx context.Context) error {
	return v.lines(ctx, v.b.tree, evidence.EntriesJSONL, func(_ int, line []byte) bool {
		var e evidence.Entry
		if json.Unmarshal(line, &e) != nil || len(e.Parts) == 0 {
			return true
		}
		if err := v.deepEntry(ctx, e); err != nil && ctx.Err() == nil {
			v.f.add("entries", e.Parts[0].Path, "entry %s: %v", e.ID, err)
		}
		return ctx.Err() == nil
	})
}

func (v *verification) deepEntry(ctx context.Context, e evidence.Entry) error {
	parts := &joined{t: v.b.tree, parts: e.Parts}
	defer parts.shut()
	whole := sha256.New()
	stored := io.TeeReader(whileAlive{ctx, parts}, whole)
	if e.Encoding != nil {
		if err := unpack(stored, *e.Encoding); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, stored); err != nil {
		return err
	}
	if evidence.Digest(whole.Sum(nil)) != e.SHA256 {
		return errors.New("its digest is not that of its parts together")
	}
	return nil
}

func unpack(stored io.Reader, enc evidence.Encoding) error {
	if enc.Name != "zstd" {
		return fmt.Errorf("encoding %q is not known here", enc.Name)
	}
	dec, err := zstd.NewReader(stored, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return err
	}
	defer dec.Close()
	plain := sha256.New()
	n, err := io.Copy(plain, io.LimitReader(dec, enc.Size+1))
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	if n != enc.Size || evidence.Digest(plain.Sum(nil)) != enc.SHA256 {
		return errors.New("what it unpacks to is not what was compressed")
	}
	return nil
}

// joined reads an entry's parts one after the other.
type joined struct {
	t     *tree
	parts []evidence.Part
	open  io.ReadCloser
}

func (j *joined) Read(b []byte) (int, error) {
	for {
		if j.open == nil {
			if len(j.parts) == 0 {
				return 0, io.EOF
			}
			if _, ok := j.t.files[j.parts[0].Path]; !ok {
				return 0, fmt.Errorf("part %s is not there", plain(j.parts[0].Path))
			}
			file, err := j.t.open(j.parts[0].Path, false)
			if err != nil {
				return 0, err
			}
			j.open, j.parts = file, j.parts[1:]
		}
		n, err := j.open.Read(b)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		j.shut()
		if n > 0 {
			return n, nil
		}
	}
}

func (j *joined) shut() {
	if j.open != nil {
		j.open.Close()
		j.open = nil
	}
}
