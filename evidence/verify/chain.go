package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
)

// link is what the chain needs of a custody record.
type link struct {
	V      int    `json:"v"`
	Seq    int    `json:"seq"`
	Prev   string `json:"prev"`
	Action string `json:"action"`
	Seal   string `json:"seal_sha256"`
}

// chainEnd is where a chain stands: the number of records and the last line's digest.
type chainEnd struct {
	n    int
	head evidence.Digest
	last link
}

// follow checks one line and moves on. The line is held both as JSON and as text, as
// VERIFY.txt has it.
func (c *chainEnd) follow(line []byte) error {
	var l link
	if err := json.Unmarshal(line, &l); err != nil {
		return err
	}
	prev := c.head.Hex()
	switch {
	case l.V != 1:
		return fmt.Errorf("version %d is not known here", l.V)
	case l.Seq != c.n || !bytes.Contains(line, fmt.Appendf(nil, `"seq":%d,`, c.n)):
		return fmt.Errorf("sequence number %d where %d should stand", l.Seq, c.n)
	case l.Prev != prev || !bytes.Contains(line, []byte(`"prev":"`+prev+`",`)):
		return errors.New("prev is not the digest of the line before")
	}
	*c = chainEnd{c.n + 1, sha256.Sum256(line), l}
	return nil
}

// chain checks the custody log inside the bundle, against the head in bag-info.txt too:
// a log cut off at its end is a whole chain by itself.
func (v *verification) chain(ctx context.Context) (chainEnd, error) {
	var c chainEnd
	if _, ok := v.b.files[evidence.CustodyJSONL]; !ok {
		return c, nil
	}
	err := v.lines(ctx, v.b.tree, evidence.CustodyJSONL, func(n int, line []byte) bool {
		if err := c.follow(line); err != nil {
			v.f.add("custody", evidence.CustodyJSONL, "record %d: %v", n, err)
			return false
		}
		return true
	})
	v.r.Records, v.r.Head, v.r.LastHead = c.n, c.head, c.head
	v.field("Irkit-Custody-Head", c.head.Hex())
	v.field("Irkit-Custody-Records", fmt.Sprint(c.n))
	if c.last.Action != string(evidence.ActSealed) {
		v.f.add("custody", evidence.CustodyJSONL, "does not end with a record of action sealed")
	}
	return c, err
}

// later checks the records that follow the seal, beside the bundle.
func (v *verification) later(ctx context.Context, c chainEnd, dir string) error {
	id := v.b.info.one("External-Identifier")
	if id == "" || !profileTag.MatchString(id) || strings.Contains(id, "/") {
		return nil
	}
	beside, err := v.beside(dir)
	if err != nil {
		return err
	}
	name := filepath.Join(beside, evidence.CustodyDir(id))
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		v.f.add("custody-later", filepath.Base(name), "is no folder")
		return nil
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return err
	}
	defer root.Close()
	var odd findings
	t, err := walk(ctx, root, &odd)
	if err != nil {
		return err
	}
	for _, x := range odd.list {
		x.Path = filepath.Base(name) + "/" + x.Path
		v.f.put(x)
	}
	var names []string
	for p := range t.files {
		if strings.HasSuffix(p, ".jsonl") && !strings.HasPrefix(p, ".") && !strings.Contains(p, "/") {
			names = append(names, p)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		if err := v.laterOne(ctx, t, n, &c); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) laterOne(ctx context.Context, t *tree, name string, c *chainEnd) error {
	where := evidence.CustodyDir(v.r.Bundle) + "/" + name
	before, count := len(v.f.list), 0
	err := v.lines(ctx, t, name, func(_ int, line []byte) bool {
		if count++; count > 1 {
			v.f.add("custody-later", where, "holds more than one record")
			return false
		}
		seq := c.n
		if err := c.follow(line); err != nil {
			v.f.add("custody-later", where, "record %d: %v", seq, err)
			return false
		}
		if c.last.Seal != hex.EncodeToString(v.r.Seal[:]) {
			v.f.add("custody-later", where, "record %d is of another seal", seq)
		}
		if name != evidence.CustodyName(seq, c.head) {
			v.f.add("custody-later", where, "is not named after its record")
		}
		return true
	})
	if count == 0 && len(v.f.list) == before {
		v.f.add("custody-later", where, "holds no record")
	}
	v.r.Later, v.r.LastHead = v.r.Later+1, c.head
	return err
}
