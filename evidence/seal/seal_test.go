package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"irkit.dev/irkit/evidence"
)

func testKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func allow(t testing.TB, s ssh.Signer, namespaces ...string) string {
	t.Helper()
	line, err := AllowedSigner("custodian@example.com", s.PublicKey(), namespaces...)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// ssh-keygen is the oracle, in both directions.
func TestOpenSSHAgrees(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		t.Skip("no ssh-keygen here")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "keys", "id_ed25519")
	k, err := LoadOrCreateKey(path, "irkit on test")
	if err != nil {
		t.Fatal(err)
	}
	message := bytes.Repeat([]byte("tagmanifest\n"), 999)
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	sig, err := Sign(k, evidence.SealNamespace, message)
	if err != nil {
		t.Fatal(err)
	}
	signers := write("signers", "# keys\n\n"+allow(t, testKey(t))+allow(t, k, evidence.SealNamespace, evidence.UndoNamespace))
	verify := func(namespace string) error {
		cmd := exec.CommandContext(t.Context(), keygen, "-Y", "verify", "-f", signers, "-I", "custodian@example.com", "-n", namespace, "-s", write("sig", string(sig)))
		cmd.Stdin = bytes.NewReader(message)
		return cmd.Run()
	}
	if err := verify(evidence.SealNamespace); err != nil {
		t.Errorf("ssh-keygen refuses our signature: %v", err)
	}
	if err := verify(evidence.UndoNamespace); err == nil {
		t.Error("ssh-keygen takes our signature in another namespace")
	}
	m := write("message", string(message))
	if out, err := exec.CommandContext(t.Context(), keygen, "-Y", "sign", "-q", "-f", path, "-n", evidence.UndoNamespace, m).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen does not sign with our key: %v\n%s", err, out)
	}
	theirs, err := os.ReadFile(m + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	o, err := Verify([]byte(allow(t, k, evidence.UndoNamespace)), evidence.UndoNamespace, message, theirs)
	if err != nil || o.Principal != "custodian@example.com" {
		t.Errorf("we refuse ssh-keygen's signature: %+v, %v", o, err)
	}
	list, err := exec.CommandContext(t.Context(), keygen, "-l", "-f", path+".pub").Output()
	if err != nil || !strings.Contains(string(list), Fingerprint(k.PublicKey())) {
		t.Errorf("fingerprint %s, ssh-keygen says %s (%v)", Fingerprint(k.PublicKey()), list, err)
	}
}

func TestVerifyTellsForeignFromBroken(t *testing.T) {
	k, other := testKey(t), testKey(t)
	message := []byte("undo")
	sig, err := Sign(k, evidence.UndoNamespace, message)
	if err != nil {
		t.Fatal(err)
	}
	crlf := bytes.ReplaceAll(sig, []byte("\n"), []byte("\r\n"))
	foreign, err := Sign(k, evidence.SealNamespace, message)
	if err != nil {
		t.Fatal(err)
	}
	mine := allow(t, k, evidence.UndoNamespace)
	keyOnly := strings.TrimPrefix(allow(t, k), "custodian@example.com ")
	for name, c := range map[string]struct {
		allowed      string
		message, sig []byte
		want         error
	}{
		"good":                   {mine, message, sig, nil},
		"CRLF":                   {mine, message, crlf, nil},
		"any namespace":          {allow(t, k), message, sig, nil},
		"second of two lines":    {allow(t, other) + mine, message, sig, nil},
		"nobody allowed":         {"", message, sig, ErrForeign},
		"another key":            {allow(t, other), message, sig, ErrForeign},
		"key for another use":    {allow(t, k, evidence.SealNamespace), message, sig, ErrForeign},
		"authority line":         {"x cert-authority " + keyOnly, message, sig, ErrForeign},
		"validity is not read":   {`x valid-before="20200101" ` + keyOnly, message, sig, ErrForeign},
		"commented out":          {"#" + mine, message, sig, ErrForeign},
		"other message":          {mine, []byte("undo!"), sig, ErrSignature},
		"other namespace":        {mine, message, foreign, ErrSignature},
		"no signature":           {mine, message, nil, ErrSignature},
		"something behind it":    {mine, message, append(bytes.Clone(sig), "x\n"...), ErrSignature},
		"something in front":     {mine, message, append([]byte("x\n"), sig...), ErrSignature},
		"a bit turned in base64": {mine, message, bytes.Replace(sig, sig[60:61], []byte{sig[60] ^ 1}, 1), ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := Verify([]byte(c.allowed), evidence.UndoNamespace, c.message, c.sig)
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if (o.Principal != "") != (c.want == nil) || (o.Fingerprint != "") != !errors.Is(err, ErrSignature) {
				t.Errorf("origin %+v with %v", o, err)
			}
		})
	}
}

func TestKeyIsMadeOnceAndGuarded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "irkit", "id_ed25519")
	prints := make([]string, 8)
	var wg sync.WaitGroup
	for i := range prints {
		wg.Go(func() {
			k, err := LoadOrCreateKey(path, "irkit")
			if err != nil {
				t.Error(err)
				return
			}
			prints[i] = Fingerprint(k.PublicKey())
		})
	}
	wg.Wait()
	for _, p := range prints {
		if p != prints[0] {
			t.Fatalf("two keys: %v", prints)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".id*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateKey(path, ""); err == nil {
			t.Errorf("a key of mode %o was used", mode)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.Chmod(path, 0o600), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateKey(link, ""); err == nil {
		t.Error("a key behind a symbolic link was used")
	}
	if err := os.WriteFile(path, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateKey(path, ""); err == nil {
		t.Error("what is no key was used or replaced")
	}
	if b, _ := os.ReadFile(path); string(b) != "not a key" {
		t.Errorf("the file was replaced by %q", b)
	}
}

func TestAllowedSignerRefusesWhatWouldWiden(t *testing.T) {
	for _, p := range []string{"", "a b", "*", "a,b", "a\nb", `a"b`, "!a", "é", "#a"} {
		if line, err := AllowedSigner(p, testKey(t).PublicKey()); err == nil {
			t.Errorf("principal %q gave %q", p, line)
		}
	}
}

func FuzzVerify(f *testing.F) {
	k := testKey(f)
	sig, err := Sign(k, evidence.UndoNamespace, []byte("m"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(allow(f, k)), sig, []byte("m"))
	f.Add([]byte("a namespaces=\"\"\n"), []byte(armourBegin+"\n"+armourEnd), []byte("m"))
	f.Fuzz(func(t *testing.T, allowed, s, m []byte) {
		if o, err := Verify(allowed, evidence.UndoNamespace, m, s); err == nil && !bytes.Equal(m, []byte("m")) {
			t.Errorf("%+v for %q", o, m)
		}
	})
}
