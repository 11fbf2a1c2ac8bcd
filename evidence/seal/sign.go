package seal

import (
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

const (
	magic       = "SSHSIG"
	sigVersion  = 1
	armourBegin = "-----BEGIN SSH SIGNATURE-----"
	armourEnd   = "-----END SSH SIGNATURE-----"
	hashName    = "sha512"
)

// blob is what follows the magic in a signature (PROTOCOL.sshsig, section 2).
type blob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// signed is what follows the magic in the bytes that are signed (section 3).
type signed struct {
	Namespace string
	Reserved  string
	Hash      string
	Digest    []byte
}

// Sign signs message for a namespace, and returns the signature as `ssh-keygen -Y sign`
// writes it. It may be called with any ssh.Signer, an agent's too.
func Sign(s ssh.Signer, namespace string, message []byte) ([]byte, error) {
	if namespace == "" {
		return nil, errors.New("sign: a signature without a namespace would count everywhere")
	}
	sum := sha512.Sum512(message)
	body := append([]byte(magic), ssh.Marshal(signed{namespace, "", hashName, sum[:]})...)
	sig, err := s.Sign(rand.Reader, body)
	if err != nil {
		return nil, fmt.Errorf("sign in namespace %s with %s: %w", namespace, Fingerprint(s.PublicKey()), err)
	}
	b := append([]byte(magic), ssh.Marshal(blob{
		sigVersion, s.PublicKey().Marshal(), namespace, "", hashName, ssh.Marshal(sig),
	})...)
	return armour(b), nil
}

func armour(b []byte) []byte {
	const width = 70 // as ssh-keygen wraps
	text := base64.StdEncoding.EncodeToString(b)
	var out strings.Builder
	out.WriteString(armourBegin + "\n")
	for len(text) > 0 {
		n := min(width, len(text))
		out.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	out.WriteString(armourEnd + "\n")
	return []byte(out.String())
}

// Fingerprint is how people compare keys: SHA256:… as ssh-keygen -l prints it.
func Fingerprint(k ssh.PublicKey) string { return ssh.FingerprintSHA256(k) }

// AllowedSigner is the key's line for an allowed_signers file (ssh-keygen(1)), with LF:
// principal may sign with it, in these namespaces alone. The principal must be one
// word of printable ASCII without quotes, commas and wildcards.
func AllowedSigner(principal string, k ssh.PublicKey, namespaces ...string) (string, error) {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"',*?!#\`, r) }
	if principal == "" || strings.ContainsFunc(principal, bad) {
		return "", fmt.Errorf("principal %q: want one word of printable ASCII", principal)
	}
	for _, n := range namespaces {
		if n == "" || strings.ContainsFunc(n, bad) {
			return "", fmt.Errorf("namespace %q: want one word of printable ASCII", n)
		}
	}
	line := principal
	if len(namespaces) > 0 {
		line += ` namespaces="` + strings.Join(namespaces, ",") + `"`
	}
	return line + " " + string(ssh.MarshalAuthorizedKey(k)), nil
}
