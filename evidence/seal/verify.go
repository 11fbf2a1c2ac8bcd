package seal

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Errors of Verify.
var (
	// ErrSignature says that the bytes are no signature of that message in that
	// namespace, whoever made it.
	ErrSignature = errors.New("signature does not hold")
	// ErrForeign says that the signature holds, but its key is not among the signers.
	ErrForeign = errors.New("key is not among the signers")
)

// Origin is whose signature it is.
type Origin struct {
	Principal   string // empty with ErrForeign
	Fingerprint string
}

// Verify checks an SSHSIG over message in a namespace against an allowed_signers file.
// allowed is the file's content. It fails with ErrSignature or ErrForeign; with ErrForeign
// the Origin still has the fingerprint. Lines of certificate authorities and lines with a
// validity period are not used: such a signer counts as foreign.
func Verify(allowed []byte, namespace string, message, armoured []byte) (Origin, error) {
	key, err := check(namespace, message, armoured)
	if err != nil {
		return Origin{}, err
	}
	o := Origin{Fingerprint: Fingerprint(key)}
	for line := range bytes.Lines(allowed) {
		if p, ok := grants(string(line), key, namespace); ok {
			o.Principal = p
			return o, nil
		}
	}
	return o, fmt.Errorf("%s: %w", o.Fingerprint, ErrForeign)
}

func check(namespace string, message, armoured []byte) (ssh.PublicKey, error) {
	b, err := dearmour(armoured)
	if err != nil {
		return nil, err
	}
	if b.Namespace != namespace {
		return nil, fmt.Errorf("made for namespace %q, not %q: %w", b.Namespace, namespace, ErrSignature)
	}
	var h hash.Hash
	switch b.Hash {
	case "sha256":
		h = sha256.New()
	case "sha512":
		h = sha512.New()
	default:
		return nil, fmt.Errorf("digest %q: %w", b.Hash, ErrSignature)
	}
	h.Write(message)
	key, err := ssh.ParsePublicKey(b.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("its public key: %w: %w", err, ErrSignature)
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(b.Signature, &sig); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrSignature)
	}
	if sig.Format == ssh.KeyAlgoRSA {
		return nil, fmt.Errorf("RSA with SHA-1: %w", ErrSignature)
	}
	body := append([]byte(magic), ssh.Marshal(signed{namespace, b.Reserved, b.Hash, h.Sum(nil)})...)
	if err := key.Verify(body, &sig); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrSignature)
	}
	return key, nil
}

func dearmour(text []byte) (blob, error) {
	var b blob
	s, ok := strings.CutPrefix(strings.ReplaceAll(string(text), "\r\n", "\n"), armourBegin+"\n")
	if !ok {
		return b, fmt.Errorf("no %s: %w", armourBegin, ErrSignature)
	}
	s, ok = strings.CutSuffix(strings.TrimRight(s, "\n"), armourEnd)
	if !ok {
		return b, fmt.Errorf("no %s: %w", armourEnd, ErrSignature)
	}
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return b, fmt.Errorf("%w: %w", err, ErrSignature)
	}
	raw, ok = bytes.CutPrefix(raw, []byte(magic))
	if !ok {
		return b, fmt.Errorf("no %s: %w", magic, ErrSignature)
	}
	if err := ssh.Unmarshal(raw, &b); err != nil {
		return b, fmt.Errorf("%w: %w", err, ErrSignature)
	}
	if b.Version != sigVersion {
		return b, fmt.Errorf("version %d: %w", b.Version, ErrSignature)
	}
	return b, nil
}

// grants says whether one line of an allowed_signers file lets key sign in namespace.
func grants(line string, key ssh.PublicKey, namespace string) (principal string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", false
	}
	principal, rest, _ := strings.Cut(line, " ")
	// The rest has the form of an authorized_keys line: options, then the key.
	k, _, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil || !bytes.Equal(k.Marshal(), key.Marshal()) {
		return "", false
	}
	allowed := len(options) == 0
	for _, opt := range options {
		name, value, _ := strings.Cut(opt, "=")
		if !strings.EqualFold(name, "namespaces") {
			return "", false
		}
		for pattern := range strings.SplitSeq(strings.Trim(value, `"`), ",") {
			allowed = allowed || pattern == namespace
		}
	}
	return principal, allowed
}
