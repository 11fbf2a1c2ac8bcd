package bag

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/evidence/seal"
)

// Info is what bag-info.txt says of the bundle, beside what the bundle itself knows. All
// but Case and Software may be empty.
type Info struct {
	Case           string // Internal-Sender-Identifier
	Software       string // Bag-Software-Agent
	Principal      string // in seal/allowed_signers; empty: custodian
	Organization   string // Source-Organization
	ContactName    string
	ContactEmail   string
	Description    string // External-Description
	Classification string // Irkit-Classification
	LegalHold      string // Irkit-Legal-Hold
	Earlier        *evidence.Earlier
}

// Sealed is a bundle's seal.
type Sealed struct {
	Digest      evidence.Digest // of tagmanifest-sha256.txt
	Head        evidence.Digest // of the custody log inside the bundle
	Records     int             // of that log
	Fingerprint string          // of the signing key
	At          time.Time
	Frozen
}

// Seal writes the digest lists of everything in the bundle and signs them. The custody log
// must end with a record of action sealed, and Freeze comes before it, by the caller or by
// Seal; a bundle that has its seal fails with ErrSealed. After an error, or a crash in the
// middle, sealing again completes it. Once it returns, all files are read-only, and nothing
// in the bundle changes any more.
func (w *Writer) Seal(ctx context.Context, key ssh.Signer, info Info) (Sealed, error) {
	s, err := w.seal(ctx, key, info)
	if err != nil {
		return s, fmt.Errorf("seal bundle %s: %w", w.id, err)
	}
	return s, nil
}

func (w *Writer) seal(ctx context.Context, key ssh.Signer, info Info) (Sealed, error) {
	s := Sealed{Fingerprint: seal.Fingerprint(key.PublicKey()), At: w.now()}
	if err := unsealed(w.root); err != nil {
		return s, err
	}
	if oneLine(info.Case) == "" || oneLine(info.Software) == "" {
		return s, errors.New("bag-info.txt needs a case and the software's name")
	}
	w.mu.Lock()
	frozen := w.frozen
	w.mu.Unlock()
	if frozen == nil {
		f, err := w.freeze(ctx)
		if err != nil {
			return s, err
		}
		frozen = &f
	}
	s.Frozen = *frozen
	records, head, err := custody.ReadBundle(w.kase, w.id)
	if err != nil {
		return s, err
	}
	if n := len(records); n == 0 || records[n-1].Action != evidence.ActSealed {
		return s, fmt.Errorf("its custody log does not end with a record of action %s", evidence.ActSealed)
	}
	s.Head, s.Records = head.Digest, head.Next
	if err := w.writeLists(key, info, s); err != nil {
		return s, err
	}
	if s.Digest, err = w.sign(ctx, key); err != nil {
		return s, err
	}
	return s, w.readOnly()
}

// writeLists writes all that the seal covers and that is written last.
func (w *Writer) writeLists(key ssh.Signer, info Info, s Sealed) error {
	principal := info.Principal
	if principal == "" {
		principal = "custodian"
	}
	signers, err := seal.AllowedSigner(principal, key.PublicKey(), evidence.SealNamespace, evidence.UndoNamespace)
	if err != nil {
		return err
	}
	parts := slices.Clone(s.parts)
	slices.SortFunc(parts, func(a, b evidence.Part) int { return strings.Compare(a.Path, b.Path) })
	var m256, m512 bytes.Buffer
	for _, p := range parts {
		fmt.Fprintf(&m256, "%s  %s\n", p.SHA256.Hex(), p.Path)
		fmt.Fprintf(&m512, "%s  %s\n", p.SHA512, p.Path)
	}
	for _, f := range []struct {
		name string
		text []byte
	}{
		{evidence.AllowedSigners, []byte(signers)},
		{evidence.BagItTxt, []byte("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")},
		{evidence.BagInfo, bagInfo(w.id, info, s)},
		{evidence.ManifestSHA256, m256.Bytes()},
		{evidence.ManifestSHA512, m512.Bytes()},
		{evidence.VerifyTxt, verifyText(w.id, info, s)},
	} {
		if err := w.writeTag(f.name, f.text); err != nil {
			return fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	return nil
}

// sign lists the tag files, signs the list, and with the signature makes the bundle sealed.
func (w *Writer) sign(ctx context.Context, key ssh.Signer) (evidence.Digest, error) {
	var none evidence.Digest
	tags, err := w.strangers()
	if err != nil {
		return none, err
	}
	slices.Sort(tags)
	var list bytes.Buffer
	for _, name := range tags {
		p, err := w.hashFile(ctx, name, io.Discard)
		if err != nil {
			return none, fmt.Errorf("hash %s: %w", name, err)
		}
		fmt.Fprintf(&list, "%s  %s\n", p.SHA256.Hex(), name)
	}
	if err := w.writeTag(evidence.TagManifestSHA256, list.Bytes()); err != nil {
		return none, fmt.Errorf("write %s: %w", evidence.TagManifestSHA256, err)
	}
	sig, err := seal.Sign(key, evidence.SealNamespace, list.Bytes())
	if err != nil {
		return none, err
	}
	if err := w.writeTag(evidence.SealSignature, sig); err != nil {
		return none, fmt.Errorf("write %s: %w", evidence.SealSignature, err)
	}
	return sha256.Sum256(list.Bytes()), nil
}

// readOnly takes the right to write from every file. Folders stay as they are, so that a
// bundle can still be removed as a whole by who may.
func (w *Writer) readOnly() error {
	err := fs.WalkDir(w.root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return w.root.Chmod(p, 0o400)
	})
	if err != nil {
		return fmt.Errorf("make files read-only: %w", err)
	}
	return nil
}
