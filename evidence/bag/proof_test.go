package bag_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/bag"
	"irkit.dev/irkit/evidence/seal"
	"irkit.dev/irkit/evidence/verify"
)

// victim is a copy of a sealed bundle, to be tampered with.
type victim struct {
	testing.TB
	caseDir, dir string
	key          ssh.Signer
}

func (v victim) read(name string) []byte {
	v.Helper()
	b, err := os.ReadFile(filepath.Join(v.dir, name))
	if err != nil {
		v.Fatal(err)
	}
	return b
}

func (v victim) write(name string, b []byte) {
	v.Helper()
	p := filepath.Join(v.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
		v.Fatal(err)
	}
	if err := os.Remove(p); err != nil && !os.IsNotExist(err) {
		v.Fatal(err)
	}
	if err := os.WriteFile(p, b, 0o600); err != nil {
		v.Fatal(err)
	}
}

func (v victim) remove(name string) {
	v.Helper()
	if err := os.Remove(filepath.Join(v.dir, name)); err != nil {
		v.Fatal(err)
	}
}

func (v victim) edit(name, old, new string) {
	v.Helper()
	b := v.read(name)
	if !bytes.Contains(b, []byte(old)) {
		v.Fatalf("%s holds no %q", name, old)
	}
	v.write(name, bytes.Replace(b, []byte(old), []byte(new), 1))
}

// lines rewrites a file's lines.
func (v victim) lines(name string, fn func([]string) []string) {
	v.Helper()
	l := strings.SplitAfter(string(v.read(name)), "\n")
	v.write(name, []byte(strings.Join(fn(l[:len(l)-1]), "")))
}

// relist rewrites the digests of the tag manifest, as a forger would.
func (v victim) relist() {
	v.Helper()
	v.lines(evidence.TagManifestSHA256, func(l []string) []string {
		var out []string
		for _, line := range l {
			name := strings.TrimSpace(line[66:])
			if b, err := os.ReadFile(filepath.Join(v.dir, name)); err == nil {
				out = append(out, sum(b).Hex()+"  "+name+"\n")
			}
		}
		return out
	})
}

func (v victim) sign(key ssh.Signer, namespace string) {
	v.Helper()
	sig, err := seal.Sign(key, namespace, v.read(evidence.TagManifestSHA256))
	if err != nil {
		v.Fatal(err)
	}
	v.write(evidence.SealSignature, sig)
}

const payloadFile = "data/01-volatile/0001-c0-processes.jsonl"

// tampering is what is done to a bundle, and what both verifiers must answer then, with
// the true signers given.
type tampering struct {
	name      string
	do        func(victim)
	integrity verify.Answer
	origin    verify.Answer
}

func tamperings() []tampering {
	bad := func(name string, do func(victim)) tampering { return tampering{name, do, verify.Failed, verify.OK} }
	unsigned := func(name string, do func(victim)) tampering { return tampering{name, do, verify.Failed, verify.Failed} }
	cutCustody := func(v victim) {
		v.lines(evidence.CustodyJSONL, func(l []string) []string { return l[:len(l)-1] })
	}
	foreign := func(v victim) ssh.Signer {
		key := newKey(v)
		line, err := seal.AllowedSigner(who, key.PublicKey(), evidence.SealNamespace)
		if err != nil {
			v.Fatal(err)
		}
		v.write(evidence.AllowedSigners, []byte(line))
		v.relist()
		return key
	}
	return []tampering{
		{"untouched", func(victim) {}, verify.OK, verify.OK},
		{"timestamp added", func(v victim) { v.write(evidence.SealTimestamp, []byte("token")) }, verify.OK, verify.OK},
		{"moved", func(v victim) {
			if err := os.Chmod(v.dir, 0o755); err != nil {
				v.Fatal(err)
			}
		}, verify.OK, verify.OK},

		bad("payload byte", func(v victim) { v.edit(payloadFile, "1", "2") }),
		bad("payload longer", func(v victim) { v.write(payloadFile, append(v.read(payloadFile), 0)) }),
		bad("payload missing", func(v victim) { v.remove(payloadFile) }),
		bad("empty payload missing", func(v victim) { v.remove("data/01-volatile/0002-c0-empty.jsonl") }),
		bad("extra payload", func(v victim) { v.write("data/01-volatile/0099-c0-planted.jsonl", nil) }),
		bad("extra tag file", func(v victim) { v.write("meta/note.txt", []byte("x")) }),
		bad("extra file at the top", func(v victim) { v.write("autorun.inf", nil) }),
		bad("hidden file", func(v victim) { v.write("data/.DS_Store", nil) }),
		bad("second tag manifest", func(v victim) { v.write("tagmanifest-sha512.txt", nil) }),
		bad("fetch list", func(v victim) { v.write("fetch.txt", []byte("http://localhost/ - data/x\n")) }),
		bad("empty folder", func(v victim) { v.mkdir("data/07-noise") }),
		bad("folder with a hostile name", func(v victim) { v.mkdir("data/\x1b]0;x\a\n") }),
		bad("payload is a link", func(v victim) {
			b := v.read(payloadFile)
			v.remove(payloadFile)
			outside := filepath.Join(v.caseDir, "outside")
			if err := os.WriteFile(outside, b, 0o600); err != nil {
				v.Fatal(err)
			}
			v.symlink(outside, payloadFile)
		}),
		bad("link beside the payload", func(v victim) { v.symlink("/etc/passwd", "data/01-volatile/0098-c0-link.txt") }),
		bad("data is a link", func(v victim) {
			if err := os.Rename(filepath.Join(v.dir, "data"), filepath.Join(v.caseDir, "moved")); err != nil {
				v.Fatal(err)
			}
			v.symlink("../moved", "data")
		}),
		bad("named pipe", func(v victim) { v.fifo("data/01-volatile/0097-c0-pipe") }),
		bad("case twin", func(v victim) {
			v.write("meta/EVIDENCE.json", v.read(evidence.EvidenceJSON))
		}),
		bad("manifest line removed", func(v victim) {
			v.lines(evidence.ManifestSHA256, func(l []string) []string { return l[1:] })
		}),
		bad("SHA-512 manifest line removed", func(v victim) {
			v.lines(evidence.ManifestSHA512, func(l []string) []string { return l[1:] })
		}),
		bad("manifest line doubled", func(v victim) {
			v.lines(evidence.ManifestSHA256, func(l []string) []string { return append(l, l[0]) })
		}),
		bad("tag file edited", func(v victim) { v.edit(evidence.ReportEN, "html", "HTML") }),
		bad("VERIFY.txt edited", func(v victim) { v.edit(evidence.VerifyTxt, "exit \"$bad\"", "exit 0") }),
		bad("bagit.txt with a mark", func(v victim) { v.edit(evidence.BagItTxt, "BagIt", "\ufeffBagIt") }),
		bad("custody edited", func(v victim) { v.edit(evidence.CustodyJSONL, "opened", "Opened") }),
		bad("custody truncated", cutCustody),
		bad("custody reordered", func(v victim) {
			v.lines(evidence.CustodyJSONL, func(l []string) []string { slices.Reverse(l); return l })
		}),
		bad("custody record appended", func(v victim) {
			v.lines(evidence.CustodyJSONL, func(l []string) []string { return append(l, l[0]) })
		}),
		bad("own signers widened", func(v victim) { v.edit(evidence.AllowedSigners, who, "*") }),
		bad("own signers name another key", func(v victim) { v.write(evidence.AllowedSigners, foreignLine(v)) }),

		unsigned("payload and manifests rewritten", func(v victim) {
			b := v.read(payloadFile)
			v.edit(payloadFile, "1", "2")
			v.edit(evidence.ManifestSHA256, sum(b).Hex(), sum(v.read(payloadFile)).Hex())
			v.relist()
		}),
		unsigned("file and its lines taken out", func(v victim) {
			v.remove(payloadFile)
			for _, m := range []string{evidence.ManifestSHA256, evidence.ManifestSHA512} {
				v.lines(m, func(l []string) []string {
					return slices.DeleteFunc(l, func(s string) bool { return strings.Contains(s, payloadFile) })
				})
			}
			v.relist()
		}),
		unsigned("custody truncated and listed", func(v victim) { cutCustody(v); v.relist() }),
		unsigned("tag manifest line removed", func(v victim) {
			v.remove(evidence.ReportEN)
			v.relist()
		}),
		unsigned("tag manifest lists what leaves the bag", func(v victim) {
			v.lines(evidence.TagManifestSHA256, func(l []string) []string {
				return append(l, sum(nil).Hex()+"  ../outside\n")
			})
		}),
		unsigned("signature missing", func(v victim) { v.remove(evidence.SealSignature) }),
		unsigned("signature empty", func(v victim) { v.write(evidence.SealSignature, nil) }),
		unsigned("signature of another file", func(v victim) {
			sig, err := seal.Sign(v.key, evidence.SealNamespace, v.read(evidence.BagInfo))
			if err != nil {
				v.Fatal(err)
			}
			v.write(evidence.SealSignature, sig)
		}),
		unsigned("signature of another namespace", func(v victim) { v.sign(v.key, "file") }),
		unsigned("something behind the signature", func(v victim) {
			v.write(evidence.SealSignature, append(v.read(evidence.SealSignature), "more\n"...))
		}),
		unsigned("signature foreign", func(v victim) { v.sign(newKey(v), evidence.SealNamespace) }),

		// From here on the forger signs again with a key of his own and names it inside:
		// only the signers from outside tell.
		{"sealed again by a forger", func(v victim) {
			v.sign(foreign(v), evidence.SealNamespace)
			v.dropLater()
		}, verify.OK, verify.Failed},
		// And the key's holder signs what does not hold.
		{"signed, but custody cut", func(v victim) {
			cutCustody(v)
			v.relist()
			v.sign(v.key, evidence.SealNamespace)
			v.dropLater()
		}, verify.Failed, verify.OK},
		{"signed, but custody cut and its count too", func(v victim) {
			cutCustody(v)
			n := bytes.Count(v.read(evidence.CustodyJSONL), []byte("\n"))
			v.edit(evidence.BagInfo, fmt.Sprintf("Irkit-Custody-Records: %d", n+1), fmt.Sprintf("Irkit-Custody-Records: %d", n))
			v.relist()
			v.sign(v.key, evidence.SealNamespace)
			v.dropLater()
		}, verify.Failed, verify.OK},
		{"signed, but an entry without its file", func(v victim) {
			v.edit(evidence.EntriesJSONL, payloadFile, "data/01-volatile/0077-c0-gone.jsonl")
			v.relist()
			v.sign(v.key, evidence.SealNamespace)
			v.dropLater()
		}, verify.Failed, verify.OK},
		{"signed, but a digest missing in an entry", func(v victim) {
			v.lines(evidence.EntriesJSONL, func(l []string) []string { return l[1:] })
			v.relist()
			v.sign(v.key, evidence.SealNamespace)
			v.dropLater()
		}, verify.Failed, verify.OK},
		{"signed, but the oxum is wrong", func(v victim) {
			v.write(evidence.BagInfo, regexp.MustCompile(`Payload-Oxum: \d+`).ReplaceAll(v.read(evidence.BagInfo), []byte("Payload-Oxum: 1")))
			v.relist()
			v.sign(v.key, evidence.SealNamespace)
			v.dropLater()
		}, verify.Failed, verify.OK},
		{"signed, but manifest in capitals", func(v victim) {
			v.write(evidence.ManifestSHA256, bytes.ToUpper(v.read(evidence.ManifestSHA256)))
			v.relist()
			v.sign(v.key, evidence.SealNamespace)
			v.dropLater()
		}, verify.Failed, verify.OK},

		bad("later custody edited", func(v victim) {
			v.later(0, func(b []byte) []byte { return bytes.Replace(b, []byte("ok"), []byte("no"), 1) })
		}),
		bad("later custody with a hole", func(v victim) { v.later(0, nil) }),
		bad("later custody doubled", func(v victim) { v.later(1, func(b []byte) []byte { return append(b, b...) }) }),
		bad("later custody renamed", func(v victim) {
			names := v.laterNames()
			if err := os.Rename(names[0], strings.Replace(names[0], ".jsonl", "0.jsonl", 1)); err != nil {
				v.Fatal(err)
			}
		}),
		bad("later custody emptied", func(v victim) { v.later(2, func([]byte) []byte { return nil }) }),
	}
}

func foreignLine(t testing.TB) []byte {
	line, err := seal.AllowedSigner(who, newKey(t).PublicKey(), evidence.SealNamespace)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(line)
}

func (v victim) mkdir(name string) {
	v.Helper()
	if err := os.Mkdir(filepath.Join(v.dir, name), 0o700); err != nil {
		v.Fatal(err)
	}
}

func (v victim) symlink(to, name string) {
	v.Helper()
	if err := os.Symlink(to, filepath.Join(v.dir, name)); err != nil {
		v.Fatal(err)
	}
}

func (v victim) laterNames() []string {
	v.Helper()
	names, err := filepath.Glob(filepath.Join(v.caseDir, evidence.CustodyDir(bundleID), "*.jsonl"))
	if err != nil || len(names) == 0 {
		v.Fatalf("no later records: %v", err)
	}
	return names
}

func (v victim) later(n int, fn func([]byte) []byte) {
	v.Helper()
	name := v.laterNames()[n]
	b, err := os.ReadFile(name)
	if err != nil {
		v.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		v.Fatal(err)
	}
	if fn == nil {
		return
	}
	if err := os.WriteFile(name, fn(b), 0o600); err != nil {
		v.Fatal(err)
	}
}

// dropLater takes away what hangs on the seal that was replaced.
func (v victim) dropLater() {
	v.Helper()
	if err := os.RemoveAll(filepath.Join(v.caseDir, evidence.CustodyDir(bundleID))); err != nil {
		v.Fatal(err)
	}
}

// recipe takes the program out of VERIFY.txt as its text tells a person to.
func recipe(t testing.TB, text []byte) string {
	t.Helper()
	block := regexp.MustCompile(`(?ms)^# begin irkit-verify.*^# end irkit-verify$`).Find(text)
	if block == nil {
		t.Fatal("no program in VERIFY.txt")
	}
	name := filepath.Join(t.TempDir(), "irkit-verify.sh")
	if err := os.WriteFile(name, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// shells are those that must run the recipe.
func shells(t testing.TB) [][]string {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("no ssh-keygen here")
	}
	for _, s := range [][]string{{"dash"}, {"sh"}} {
		if _, err := exec.LookPath(s[0]); err == nil {
			return [][]string{s}
		}
	}
	t.Skip("no POSIX shell here")
	return nil
}

func runRecipe(t testing.TB, shell []string, dir string, signers ...string) (string, error) {
	t.Helper()
	script := recipe(t, mustRead(t, filepath.Join(dir, evidence.VerifyTxt)))
	args := append(append(slices.Clone(shell[1:]), script, dir), signers...)
	out, err := exec.CommandContext(t.Context(), shell[0], args...).CombinedOutput()
	return string(out), err
}

func answers(out string) (integrity, origin verify.Answer) {
	word := func(label string) verify.Answer {
		m := regexp.MustCompile(`(?m)^` + label + `: (OK|FAILED|NOT CHECKED)`).FindStringSubmatch(out)
		if m == nil {
			return "not answered"
		}
		return verify.Answer(strings.ToLower(m[1]))
	}
	return word("INTEGRITY"), word("ORIGIN")
}

func sealedBundle(t *testing.T) (b *bench, key ssh.Signer, s bag.Sealed) {
	t.Helper()
	key = newKey(t)
	b = create(t, bag.Options{SplitAt: 10_000, Reserve: -1})
	b.fill()
	b.record(evidence.ActCaptured)
	s = b.seal(key)
	b.continued(3)
	return b, key, s
}

func TestBothVerifiersGiveTheSameVerdict(t *testing.T) {
	shell := shells(t)[0]
	b, key, sealed := sealedBundle(t)
	signers := signersFile(t, newKey(t), key)
	script := recipe(t, mustRead(t, filepath.Join(b.w.Dir(), evidence.VerifyTxt)))
	for _, c := range tamperings() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			caseDir := copyCase(t, b.caseDir)
			v := victim{TB: t, caseDir: caseDir, dir: filepath.Join(caseDir, bundleID), key: key}
			c.do(v)
			runs := []string{signers}
			if c.integrity == verify.OK {
				runs = append(runs, "") // where the answers differ without signers
			}
			for _, given := range runs {
				want := c.origin
				if given == "" {
					want = verify.NotChecked
				}
				r, err := verify.Bundle(t.Context(), v.dir, verify.Options{Signers: given, Deep: true})
				if err != nil {
					t.Fatal(err)
				}
				if r.Integrity != c.integrity || r.Origin != want || (r.Integrity == verify.Failed) != (len(r.Findings) > 0) {
					t.Errorf("verify: %s, origin %s (%s); want %s, %s\n%v", r.Integrity, r.Origin, r.OriginWhy, c.integrity, want, r.Findings)
				}
				cmd := exec.CommandContext(t.Context(), shell[0], append(shell[1:], script, v.dir, given)...)
				out, err := cmd.CombinedOutput()
				integrity, origin := answers(string(out))
				if integrity != c.integrity || (integrity == verify.OK && origin != want) || (origin == verify.OK) && want != verify.OK {
					t.Errorf("recipe: %s, origin %s; want %s, %s\n%s", integrity, origin, c.integrity, want, out)
				}
				if passed := c.integrity == verify.OK && want != verify.Failed; passed != (err == nil) || passed != r.OK() {
					t.Errorf("recipe ended with %v, verify with %v\n%s", err, r.OK(), out)
				}
				if loud := strings.Contains(string(out), "INTEGRITY ONLY"); c.integrity == verify.OK && loud != (given == "") {
					t.Errorf("without signers it must say that it proves integrity only:\n%s", out)
				}
				if i := bytes.IndexFunc(out, func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }); i >= 0 {
					t.Errorf("recipe sent byte %q to the terminal", out[i])
				}
				if c.name == "untouched" && !strings.Contains(string(out), sealed.Digest.Hex()) {
					t.Errorf("recipe does not name the seal:\n%s", out)
				}
			}
		})
	}
}

func mustRead(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhatASealedBundleSays(t *testing.T) {
	b, key, sealed := sealedBundle(t)
	r, err := verify.Bundle(t.Context(), b.w.Dir(), verify.Options{Signers: signersFile(t, key)})
	if err != nil {
		t.Fatal(err)
	}
	if r.Bundle != bundleID || r.Case != caseID || r.Principal != who || r.Seal != sealed.Digest || r.Head != sealed.Head {
		t.Errorf("result %+v, sealed %+v", r, sealed)
	}
	if r.Fingerprint != ssh.FingerprintSHA256(key.PublicKey()) || r.Entries != 5 || r.Files != sealed.Files || r.Bytes != sealed.Bytes || r.Later != 3 || r.Records != 3 {
		t.Errorf("result %+v", r)
	}
	if r.Statuses[evidence.Collected] != 4 || r.Statuses[evidence.Impossible] != 1 {
		t.Errorf("statuses %v", r.Statuses)
	}
	for name, tool := range map[string]string{evidence.ManifestSHA256: "sha256sum", evidence.ManifestSHA512: "sha512sum", evidence.TagManifestSHA256: "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here", tool)
		}
		cmd := exec.CommandContext(t.Context(), tool, "--strict", "-c", name)
		cmd.Dir = b.w.Dir()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s -c %s: %v\n%s", tool, name, err, out)
		}
	}
	findings, err := verify.Bag(t.Context(), b.w.Dir())
	if err != nil || len(findings) > 0 {
		t.Errorf("as a plain bag: %v, %v", findings, err)
	}
}
