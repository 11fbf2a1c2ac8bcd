package verify

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// signature is an SSHSIG (OpenSSH, PROTOCOL.sshsig) taken apart.
type signature struct {
	namespace string
	reserved  string
	hash      string // sha256 or sha512
	key       ssh.PublicKey
	sig       ssh.Signature
}

// parseSignature reads an armoured SSHSIG with nothing before or after it.
func parseSignature(text []byte) (*signature, error) {
	const begin, end = "-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n"
	body, ok := strings.CutPrefix(string(text), begin)
	if !ok {
		return nil, errors.New("is no SSH signature: first line")
	}
	if body, ok = strings.CutSuffix(body, end); !ok {
		return nil, errors.New("is no SSH signature: last line")
	}
	raw, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		return nil, fmt.Errorf("is no SSH signature: %w", err)
	}
	raw, ok = bytes.CutPrefix(raw, []byte("SSHSIG"))
	if !ok {
		return nil, errors.New("is no SSH signature: preamble")
	}
	var w struct {
		Version   uint32
		Key       []byte
		Namespace string
		Reserved  string
		Hash      string
		Signature []byte
	}
	if err := ssh.Unmarshal(raw, &w); err != nil {
		return nil, fmt.Errorf("is no SSH signature: %w", err)
	}
	if w.Version != 1 {
		return nil, fmt.Errorf("SSH signature of version %d", w.Version)
	}
	if w.Hash != "sha256" && w.Hash != "sha512" {
		return nil, fmt.Errorf("SSH signature over digest %q", w.Hash)
	}
	s := &signature{namespace: w.Namespace, reserved: w.Reserved, hash: w.Hash}
	if s.key, err = ssh.ParsePublicKey(w.Key); err != nil {
		return nil, fmt.Errorf("key of the SSH signature: %w", err)
	}
	if err := ssh.Unmarshal(w.Signature, &s.sig); err != nil {
		return nil, fmt.Errorf("SSH signature: %w", err)
	}
	if s.sig.Format == ssh.KeyAlgoRSA || s.sig.Format == ssh.InsecureKeyAlgoDSA { //nolint:staticcheck // named to be refused
		return nil, fmt.Errorf("SSH signature of kind %s, which rests on SHA-1", s.sig.Format)
	}
	return s, nil
}

// holds checks the signature over the digest of a message, in a namespace.
func (s *signature) holds(namespace string, digest []byte) error {
	if s.namespace != namespace || namespace == "" {
		return fmt.Errorf("was made for namespace %q, not %q", s.namespace, namespace)
	}
	body := append([]byte("SSHSIG"), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{s.namespace, s.reserved, s.hash, digest})...)
	return s.key.Verify(body, &s.sig)
}
