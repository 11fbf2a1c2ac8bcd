package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"
)

// Key is a signing key of this machine.
type Key struct {
	ssh.Signer
	Path string
	Made bool // by this call
}

// LoadOrCreateKey reads the Ed25519 key at path, in OpenSSH's format, or makes one on
// first use (0600, in a folder 0700, the public half beside it as .pub). Two processes
// that make it at once get the same key. A key that others on the machine may read, that is
// behind a symbolic link, or that has a passphrase is refused, and nothing is changed.
func LoadOrCreateKey(path, comment string) (*Key, error) {
	k, err := load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := create(path, comment); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make signing key %s: %w", path, err)
	}
	if k, err = load(path); err != nil {
		return nil, err
	}
	k.Made = true
	return k, nil
}

func load(path string) (*Key, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read signing key %s: not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("read signing key %s: mode %04o lets others read it: chmod 600 it, or make another if it may be known", path, perm)
	}
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	raw, err := ssh.ParseRawPrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("read signing key %s: %w", path, err)
	}
	ed, ok := raw.(*ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read signing key %s: not an Ed25519 key", path)
	}
	s, err := ssh.NewSignerFromKey(*ed)
	if err != nil {
		return nil, fmt.Errorf("read signing key %s: %w", path, err)
	}
	return &Key{Signer: s, Path: path}, nil
}

// create writes the key under another name first and links it, so that the key file is
// whole or absent, and the first of two processes wins.
func create(path, comment string) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(priv, comment)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".id_ed25519-*") // 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(pem.EncodeToMemory(block))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	k, err := ssh.NewPublicKey(pub)
	if err != nil {
		return err
	}
	line := bytes.TrimSuffix(ssh.MarshalAuthorizedKey(k), []byte("\n"))
	line = fmt.Appendf(line, " %s\n", comment)
	if err := os.WriteFile(path+".pub", line, 0o644); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
