package verify

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/crypto/ssh"

	"irkit.dev/irkit/evidence"
)

const maxSigners = 1 << 20

// seal checks the signature over the tag manifest, by whatever key made it, and that the
// bundle names that key as its own. It returns the key when the signature holds.
func (v *verification) seal(ctx context.Context) (ssh.PublicKey, error) {
	if _, ok := v.b.files[evidence.TagManifestSHA256]; !ok {
		return nil, nil
	}
	file, err := v.b.open(evidence.TagManifestSHA256, false)
	if err != nil {
		v.f.add("unreadable", evidence.TagManifestSHA256, "%v", err)
		return nil, nil
	}
	defer file.Close()
	h256, h512 := sha256.New(), sha512.New()
	if _, err := io.Copy(io.MultiWriter(h256, h512), whileAlive{ctx, file}); err != nil {
		return nil, err
	}
	digests := map[string][]byte{"sha256": h256.Sum(nil), "sha512": h512.Sum(nil)}
	v.r.Seal = evidence.Digest(digests["sha256"])
	text, err := v.b.read(evidence.SealSignature, 64<<10)
	if absent(err) {
		v.f.add("not-sealed", evidence.SealSignature, "the bundle has no seal")
		return nil, nil
	}
	if err != nil {
		v.f.add("unreadable", evidence.SealSignature, "%v", err)
		return nil, nil
	}
	sig, err := parseSignature(text)
	if err == nil {
		v.r.Fingerprint = ssh.FingerprintSHA256(sig.key)
		err = sig.holds(evidence.SealNamespace, digests[sig.hash])
	}
	if err != nil {
		v.f.add("signature", evidence.SealSignature, "%v", err)
		return nil, nil
	}
	own, err := v.b.read(evidence.AllowedSigners, maxSigners)
	if err != nil && !absent(err) {
		v.f.add("unreadable", evidence.AllowedSigners, "%v", err)
	}
	if _, ok := trusted(own, sig.key, evidence.SealNamespace, v.at); !ok && err == nil {
		v.f.add("signature", evidence.AllowedSigners, "does not name the key that sealed the bundle")
	}
	return sig.key, nil
}

// origin answers who, against the signers that the verifier brought.
func (v *verification) origin(key ssh.PublicKey) error {
	if v.o.Signers == "" {
		v.r.Origin = NotChecked
		v.r.OriginWhy = "no signers were given: compare the key's fingerprint with the custodian's by another way"
		return nil
	}
	file, err := os.Open(v.o.Signers)
	if err != nil {
		return fmt.Errorf("read signers: %w", err)
	}
	defer file.Close()
	signers, err := io.ReadAll(io.LimitReader(file, maxSigners+1))
	if err != nil {
		return fmt.Errorf("read signers: %w", err)
	}
	if len(signers) > maxSigners {
		return fmt.Errorf("read signers %s: %w", v.o.Signers, errors.New("longer than an allowed_signers file"))
	}
	if key == nil {
		v.r.OriginWhy = "there is no signature that holds"
		return nil
	}
	principal, ok := trusted(signers, key, evidence.SealNamespace, v.at)
	if !ok {
		v.r.OriginWhy = "the key that sealed it is not among the signers for " + evidence.SealNamespace
		return nil
	}
	v.r.Origin, v.r.Principal = OK, plain(principal)
	return nil
}
