package verify

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/crypto/ssh"

	"irkit.dev/irkit/evidence"
)

// plainBag is a small valid bag, with files replaced, added (name: text) or taken away
// (text "-").
func plainBag(t *testing.T, change map[string]string) string {
	t.Helper()
	const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	files := map[string]string{
		"bagit.txt": "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n", "data/hello": "hello",
		"manifest-sha256.txt": hello + "  data/hello\n",
	}
	for name, text := range change {
		files[name] = strings.ReplaceAll(text, "HELLO", hello)
	}
	dir := t.TempDir()
	for name, text := range files {
		if text == "-" {
			continue
		}
		p := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBagRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change map[string]string
		code   string
	}{
		"nothing":               {nil, ""},
		"CRLF":                  {map[string]string{"manifest-sha256.txt": "HELLO  data/hello\r\n"}, ""},
		"asterisk":              {map[string]string{"manifest-sha256.txt": "HELLO *data/hello\n"}, ""},
		"one blank, no LF":      {map[string]string{"manifest-sha256.txt": "HELLO data/hello"}, ""},
		"capitals":              {map[string]string{"manifest-sha256.txt": strings.ToUpper("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824") + "  data/hello\n"}, ""},
		"percent":               {map[string]string{"data/hello": "-", "data/a%b": "hello", "manifest-sha256.txt": "HELLO  data/a%25b\n"}, ""},
		"oxum":                  {map[string]string{"bag-info.txt": "Payload-Oxum: 5.1\n"}, ""},
		"folded oxum":           {map[string]string{"bag-info.txt": "A: b\n  c\nPayload-Oxum: 5.1\n"}, ""},
		"unlisted tag file":     {map[string]string{"meta/x": "x"}, ""},
		"wrong oxum":            {map[string]string{"bag-info.txt": "Payload-Oxum: 5.2\n"}, "oxum"},
		"no bagit.txt":          {map[string]string{"bagit.txt": "-"}, "bagit-txt"},
		"no manifest":           {map[string]string{"manifest-sha256.txt": "-"}, "missing"},
		"unknown digest":        {map[string]string{"manifest-crc32.txt": "00000000 data/hello\n"}, "algorithm"},
		"changed":               {map[string]string{"data/hello": "hallo"}, "changed"},
		"missing":               {map[string]string{"data/hello": "-", "data/x": ""}, "missing"},
		"extra":                 {map[string]string{"data/x": ""}, "extra-file"},
		"parent":                {map[string]string{"manifest-sha256.txt": "HELLO  data/hello\nHELLO  data/../../x\n"}, "out-of-scope"},
		"absolute":              {map[string]string{"manifest-sha256.txt": "HELLO  data/hello\nHELLO  /etc/passwd\n"}, "out-of-scope"},
		"home":                  {map[string]string{"manifest-sha256.txt": "HELLO  data/hello\nHELLO  ~/x\n"}, "out-of-scope"},
		"drive":                 {map[string]string{"manifest-sha256.txt": "HELLO  data/hello\nHELLO  C:\\x\n"}, "out-of-scope"},
		"backslash":             {map[string]string{"manifest-sha256.txt": "HELLO  data/hello\nHELLO  data\\..\\..\\x\n"}, "out-of-scope"},
		"detour":                {map[string]string{"manifest-sha256.txt": "HELLO  data//hello\n"}, "out-of-scope"},
		"NUL":                   {map[string]string{"manifest-sha256.txt": "HELLO  data/hello\x00\n"}, "out-of-scope"},
		"tag in payload list":   {map[string]string{"manifest-sha256.txt": "HELLO  bagit.txt\n"}, "manifest-form"},
		"payload in tag list":   {map[string]string{"tagmanifest-sha256.txt": "HELLO  data/hello\n"}, "manifest-form"},
		"short digest":          {map[string]string{"manifest-sha256.txt": "2cf24dba  data/hello\n"}, "manifest-form"},
		"noise":                 {map[string]string{"manifest-sha256.txt": "HELLO  data/hello\n\x1b[2J\n"}, "manifest-form"},
		"twice":                 {map[string]string{"manifest-sha256.txt": "HELLO  data/hello\nHELLO  data/hello\n"}, "listed-twice"},
		"twice by another road": {map[string]string{"manifest-sha256.txt": "HELLO  data/hello\nHELLO  ./data/hello\n"}, "listed-twice"},
		"endless line":          {map[string]string{"manifest-sha256.txt": "HELLO  data/hello\nHELLO  data/" + strings.Repeat("x", 1<<20)}, "too-much"},
		"fetch":                 {map[string]string{"fetch.txt": ""}, "fetch"},
		"second list":           {map[string]string{"manifest-sha512.txt": ""}, "extra-file"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Bag(t.Context(), plainBag(t, c.change))
			if err != nil || c.code == "" && len(failing(f)) > 0 || c.code != "" && !has(f, c.code) {
				t.Errorf("%v, %v; want %q", f, err, c.code)
			}
			for _, x := range f {
				if strings.ContainsFunc(x.String(), func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("finding %q would reach a terminal", x)
				}
			}
		})
	}
}

// A link is told and never followed: what it leads to is not read.
func TestLinksAreNotFollowed(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "hello"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := plainBag(t, map[string]string{"data/hello": "-"})
	if err := os.Symlink(outside, filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	f, err := Bag(t.Context(), dir)
	if err != nil || !has(f, "special-file") || !has(f, "missing") {
		t.Errorf("data is a link: %v, %v", f, err)
	}
	inner := plainBag(t, map[string]string{"data/hello": "-", "data/real": "hello"})
	if err := os.Symlink("real", filepath.Join(inner, "data/hello")); err != nil {
		t.Fatal(err)
	}
	if f, err := Bag(t.Context(), inner); err != nil || !has(f, "special-file") || !has(f, "missing") {
		t.Errorf("payload is a link inside the bag: %v, %v", f, err)
	}
}

func TestDepthAndNumberOfFindingsAreBounded(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("d/", maxDepth+8))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	top := deep
	for range maxDepth + 8 {
		top = filepath.Dir(top)
	}
	if f, err := Bag(t.Context(), top); err != nil || !has(f, "too-much") {
		t.Errorf("deep: %v, %v", f, err)
	}
	many := plainBag(t, map[string]string{"manifest-sha256.txt": strings.Repeat("x\n", 3*maxFindings)})
	r, err := Bundle(t.Context(), many, Options{})
	if err != nil || len(r.Findings) != maxFindings || r.More == 0 {
		t.Errorf("%d findings and %d more, %v", len(r.Findings), r.More, err)
	}
}

func TestErrorsAreNotVerdicts(t *testing.T) {
	if r, err := Bundle(t.Context(), filepath.Join(t.TempDir(), "absent"), Options{}); err == nil || r.OK() {
		t.Errorf("absent folder: %+v, %v", r, err)
	}
	dir := plainBag(t, nil)
	if r, err := Bundle(t.Context(), dir, Options{Signers: filepath.Join(dir, "absent")}); err == nil || r.OK() {
		t.Errorf("absent signers: %+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := Bundle(ctx, dir, Options{}); !errors.Is(err, context.Canceled) || r.OK() {
		t.Errorf("cancelled: %+v, %v", r, err)
	}
}

func TestChainFollows(t *testing.T) {
	var c chainEnd
	zero := c.head.Hex()
	first := `{"action":"opened","prev":"` + zero + `","seq":0,"time_utc":"x","v":1}`
	if err := c.follow([]byte(first)); err != nil || c.n != 1 {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"same again":     first,
		"no prev":        `{"seq":1,"time_utc":"x","v":1}`,
		"seq twice":      `{"prev":"` + c.head.Hex() + `","seq":2,"time_utc":"x","v":1}`,
		"other version":  `{"prev":"` + c.head.Hex() + `","seq":1,"time_utc":"x","v":2}`,
		"no JSON":        `"prev":"` + c.head.Hex() + `","seq":1,`,
		"prev in a note": `{"note":"\"prev\":\"` + c.head.Hex() + `\",","prev":"` + zero + `","seq":1,"time_utc":"x","v":1}`,
	} {
		again := c
		if err := again.follow([]byte(line)); err == nil {
			t.Errorf("%s: followed", name)
		}
	}
}

func TestSignersFile(t *testing.T) {
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	key := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
	other := `ssh-ed25519 ` + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0, 0, 0}, 9))
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for line, want := range map[string]bool{
		`a ` + key:                                       true,
		`a ` + key + ` with a comment`:                   true,
		"a\t" + key:                                      true,
		`"a b" ` + key:                                   true,
		`a namespaces="n" ` + key:                        true,
		`a namespaces="m,n" ` + key:                      true,
		`a NAMESPACES="m?,*" ` + key:                     true,
		`a namespaces="*,!n" ` + key:                     false,
		`a namespaces="m" ` + key:                        false,
		`a namespaces="" ` + key:                         false,
		`a namespaces="[n]" ` + key:                      false,
		`a valid-after="20261122" ` + key:                true,
		`a valid-after="20261123Z" ` + key:               false,
		`a valid-before="20261122110000Z" ` + key:        false,
		`a valid-before="203001010000Z" ` + key:          true,
		`a valid-before="soon" ` + key:                   false,
		`a valid-after="2020",namespaces="n" ` + key:     false,
		`a cert-authority ` + key:                        false,
		`a namespaces="n",cert-authority ` + key:         false,
		`a ` + other:                                     false,
		`a`:                                              false,
		``:                                               false,
		`# a ` + key:                                     false,
		`a ssh-rsa ` + strings.Fields(key)[1]:            false,
		`a namespaces="m" ` + key + "\na " + key:         true,
		strings.Repeat("x", 1<<16) + "\na " + key + "\n": true,
	} {
		if _, got := trusted([]byte(line), s.PublicKey(), "n", at); got != want {
			t.Errorf("%.80q: %v, want %v", line, got, want)
		}
	}
}

// A bomb is unpacked no further than the entry says.
func TestUnpackingStopsWhereTheEntryEnds(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := enc.EncodeAll(make([]byte, 64<<20), nil)
	zeros := sha256.Sum256(make([]byte, 64<<20))
	for name, c := range map[string]struct {
		stored []byte
		say    evidence.Encoding
		good   bool
	}{
		"as said":       {bomb, evidence.Encoding{Name: "zstd", Size: 64 << 20, SHA256: zeros}, true},
		"bomb":          {bomb, evidence.Encoding{Name: "zstd", Size: 10}, false},
		"shorter":       {bomb, evidence.Encoding{Name: "zstd", Size: 65 << 20, SHA256: zeros}, false},
		"other bytes":   {bomb, evidence.Encoding{Name: "zstd", Size: 64 << 20}, false},
		"cut":           {bomb[:len(bomb)-1], evidence.Encoding{Name: "zstd", Size: 64 << 20, SHA256: zeros}, false},
		"no zstd":       {[]byte("plain"), evidence.Encoding{Name: "zstd", Size: 5}, false},
		"unknown":       {bomb, evidence.Encoding{Name: "xz", Size: 64 << 20, SHA256: zeros}, false},
		"negative size": {bomb, evidence.Encoding{Name: "zstd", Size: -5}, false},
	} {
		if err := unpack(bytes.NewReader(c.stored), c.say); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824  data/hello\n"), true)
	f.Add([]byte("00 *./data/%0a\r\n00\t../x\n"), false)
	f.Fuzz(func(t *testing.T, b []byte, strict bool) {
		var found findings
		m, err := parseManifest("manifest-sha256.txt", bytes.NewReader(b), strict, &found)
		if err != nil {
			t.Fatal(err)
		}
		for p, sum := range m.sums {
			if len(sum) != 64 || outOfScope(p) != "" || !strings.HasPrefix(p, "data/") || !filepath.IsLocal(p) {
				t.Errorf("%q with %q", p, sum)
			}
		}
		if strict && !found.failed && bytes.Count(b, []byte("\n")) != len(m.sums) {
			t.Errorf("%d paths in %q", len(m.sums), b)
		}
	})
}

func FuzzSignature(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join(goldenDir, goldenID, "tagmanifest-sha256.txt.sig"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte("-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSignature(b)
		if err != nil {
			return
		}
		if s.holds("irkit-evidence@v1", make([]byte, 64)) == nil {
			t.Error("a signature over zeros was made up")
		}
		trusted(b, s.key, "irkit-evidence@v1", time.Unix(0, 0))
	})
}

func FuzzCustody(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join(goldenDir, goldenID, "meta/custody.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c chainEnd
		reason, err := eachLine(bytes.NewReader(b), func(_ int, line []byte) bool { return c.follow(line) == nil })
		if err != nil {
			t.Fatal(err)
		}
		if c.n > bytes.Count(b, []byte("\n")) || reason == "" && len(b) > 0 && b[0] == '\n' && c.n > 0 {
			t.Errorf("%d records in %q", c.n, b)
		}
	})
}

func FuzzSigners(f *testing.F) {
	f.Add("a namespaces=\"x\" ssh-ed25519 AAAA", "x")
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
	if err != nil {
		f.Fatal(err)
	}
	blob := base64.StdEncoding.EncodeToString(key.Marshal())
	f.Fuzz(func(t *testing.T, file, namespace string) {
		if _, ok := trusted([]byte(file), key, namespace, time.Unix(0, 0)); ok && !strings.Contains(file, blob) {
			t.Errorf("%q lets a key sign that it does not hold", file)
		}
		matchList(namespace, file)
	})
}
