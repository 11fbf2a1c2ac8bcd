package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"irkit.dev/irkit/evidence"
)

// Bundle checks a bundle as docs/bundle-format.md defines it. What does not hold is in the
// result's findings, every mismatch of them. The error is for a folder that could not be read
// at all, for signers that could not be read, or for ctx; the result then proves nothing.
func Bundle(ctx context.Context, dir string, o Options) (Result, error) {
	r := Result{Integrity: Failed, Origin: Failed, Statuses: map[evidence.Status]int{}}
	if o.Now == nil {
		o.Now = time.Now
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return r, fmt.Errorf("verify bundle: %w", err)
	}
	defer root.Close()
	var f findings
	v := &verification{o: o, f: &f, r: &r, at: o.Now()}
	if err := v.run(ctx, root, dir); err != nil {
		return r, fmt.Errorf("verify bundle %s: %w", dir, err)
	}
	r.Findings, r.More = f.sorted(), f.more
	if !f.failed {
		r.Integrity = OK
	}
	return r, nil
}

// verification is one run of Bundle.
type verification struct {
	o  Options
	at time.Time
	f  *findings
	r  *Result
	b  *bag
}

func (v *verification) run(ctx context.Context, root *os.Root, dir string) error {
	var err error
	if v.b, err = readBag(ctx, root, true, v.f); err != nil {
		return err
	}
	v.r.Files, v.r.Bytes = v.b.count, v.b.bytes
	v.r.Bundle, v.r.Case = plain(v.b.info.one("External-Identifier")), plain(v.b.info.one("Internal-Sender-Identifier"))
	v.profile()
	if err := v.entries(ctx); err != nil {
		return err
	}
	head, err := v.chain(ctx)
	if err != nil {
		return err
	}
	key, err := v.seal(ctx)
	if err != nil {
		return err
	}
	if err := v.later(ctx, head, dir); err != nil {
		return err
	}
	return v.origin(key)
}

// profile is what irkit asks beyond RFC 8493: these files and no others, nothing outside
// the seal but the seal itself, no folder without a file.
func (v *verification) profile() {
	for _, p := range []string{
		evidence.BagItTxt, evidence.BagInfo, evidence.ManifestSHA256, evidence.ManifestSHA512, evidence.VerifyTxt,
		evidence.TagManifestSHA256, evidence.EntriesJSONL, evidence.CustodyJSONL, evidence.AllowedSigners,
	} {
		if _, ok := v.b.files[p]; !ok {
			v.f.add("missing", p, "every bundle has it")
		}
	}
	tags, _ := v.b.list(evidence.TagManifestSHA256)
	folders := map[string]bool{evidence.PayloadDir: true}
	for p := range v.b.files {
		for d := path.Dir(p); d != "."; d = path.Dir(d) {
			folders[d] = true
		}
		if strings.HasPrefix(p, evidence.PayloadDir+"/") || p == evidence.TagManifestSHA256 || p == evidence.SealSignature || p == evidence.SealTimestamp {
			continue
		}
		if _, ok := tags.sums[p]; !ok {
			v.f.add("extra-file", p, "is not listed in %s", evidence.TagManifestSHA256)
		}
	}
	for d := range v.b.dirs {
		if !folders[d] {
			v.f.add("extra-folder", d, "holds no file of the bundle")
		}
	}
	_, v.r.Timestamp = v.b.files[evidence.SealTimestamp]
	text, err := v.b.read(evidence.BagItTxt, 1024)
	if err == nil && string(text) != "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n" {
		v.f.add("bagit-txt", evidence.BagItTxt, "has not the form that irkit writes")
	}
	v.field("Irkit-Format", "1")
	if v.r.Bundle == "" {
		v.f.add("bag-info", evidence.BagInfo, "no External-Identifier, or more than one")
	}
	if v.b.info.one("Payload-Oxum") == "" {
		v.f.add("oxum", evidence.BagInfo, "no Payload-Oxum, or more than one")
	}
	v.ended(evidence.ManifestSHA256, evidence.ManifestSHA512, evidence.TagManifestSHA256)
}

// field holds a field of bag-info.txt against what was found.
func (v *verification) field(label, want string) {
	if got := v.b.info[label]; len(got) != 1 || got[0] != want {
		v.f.add("bag-info", evidence.BagInfo, "%s is %q, found %s", label, got, want)
	}
}

// ended refuses a list that was cut after its last digest.
func (v *verification) ended(names ...string) {
	for _, name := range names {
		size, ok := v.b.files[name]
		if !ok || size == 0 {
			continue
		}
		file, err := v.b.open(name, false)
		if err != nil {
			v.f.add("unreadable", name, "%v", err)
			continue
		}
		last := make([]byte, 1)
		_, err = file.ReadAt(last, size-1)
		if err := errors.Join(err, file.Close()); err != nil || last[0] != '\n' {
			v.f.add("manifest-form", name, "does not end with a line feed")
		}
	}
}

// beside is the folder where the chain goes on.
func (v *verification) beside(dir string) (string, error) {
	if v.o.Beside != "" {
		return v.o.Beside, nil
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if full, err = filepath.EvalSymlinks(full); err != nil {
		return "", err
	}
	return filepath.Dir(full), nil
}
