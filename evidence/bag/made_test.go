package bag_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/bag"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/evidence/seal"
)

const (
	caseID   = "2026-0142"
	bundleID = "irkit-2026-0142-01kb000000000000000000test"
	who      = "custodian@example.com"
)

func newKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer(t, priv)
}

func signer(t testing.TB, priv ed25519.PrivateKey) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ticking() func() time.Time {
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	return func() time.Time { at = at.Add(time.Millisecond); return at }
}

// bench is a case folder with an unsealed bundle and its log.
type bench struct {
	testing.TB
	caseDir string
	w       *bag.Writer
	log     *custody.Log
	clock   func() time.Time
}

func create(t testing.TB, o bag.Options) *bench {
	t.Helper()
	caseDir := filepath.Join(t.TempDir(), "case")
	if err := os.Mkdir(caseDir, 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := bag.Create(t.Context(), caseDir, bundleID, o)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, caseDir: caseDir, w: w, clock: o.Clock}
	b.openLog()
	b.record(evidence.ActOpened)
	return b
}

func reopen(t testing.TB, caseDir string, o bag.Options) *bench {
	t.Helper()
	w, err := bag.Open(t.Context(), caseDir, bundleID, o)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{TB: t, caseDir: caseDir, w: w, clock: o.Clock}
	b.openLog()
	return b
}

func (b *bench) openLog() {
	b.Helper()
	log, err := custody.Open(b.Context(), b.w.Root(), evidence.CustodyJSONL, b.logOptions())
	if err != nil {
		b.Fatal(err)
	}
	b.log = log
	b.Cleanup(func() { log.Close(); b.w.Close() })
}

func (b *bench) logOptions() custody.Options {
	o := custody.Options{Bundle: b.w.ID(), Case: caseID, Clock: b.clock}
	if b.clock != nil {
		o.Entropy = strings.NewReader(strings.Repeat("irkit", 1<<10)) // the same bundle every time
	}
	return o
}

func (b *bench) record(a evidence.Action) {
	b.Helper()
	_, _, err := b.log.Append(b.Context(), evidence.Record{Action: a, Note: "caf\u00e9 \x1b[2J {\"path\":\"data/x\",\"sha256\":\"00\"}"})
	if err != nil {
		b.Fatal(err)
	}
}

// add puts an artifact in and expects it whole.
func (b *bench) add(kind string, text []byte, change func(*evidence.Artifact)) evidence.Entry {
	b.Helper()
	a := artifact(kind)
	if change != nil {
		change(&a)
	}
	e, err := b.w.Add(b.Context(), a, bytes.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	return e
}

func artifact(kind string) evidence.Artifact {
	return evidence.Artifact{
		Kind: kind, Section: evidence.Volatile, Container: "web", Ordinal: "c0", Ext: "jsonl",
		MediaType: "application/jsonl", Source: evidence.Source{How: "agent", Detail: "/proc"},
		OrigName: []byte("../../etc/\xff\x1b[31m{\"path\":\"data/"), Trust: evidence.TrustDebugger, Class: evidence.Restricted, Volatility: 1,
	}
}

// fill puts in what a small session would.
func (b *bench) fill() {
	b.Helper()
	b.add("processes", []byte("{\"pid\":1}\n"), nil)
	b.add("empty", nil, nil)
	b.add("rootfs", bytes.Repeat([]byte("block of a file\n"), 5000), func(a *evidence.Artifact) {
		a.Section, a.Ext, a.Compress = evidence.Filesystem, "tar", true
	})
	b.add("log-current", bytes.Repeat([]byte("GET / 200\n"), 3000), func(a *evidence.Artifact) {
		a.Section, a.Ext = evidence.Logs, "log"
	})
	absent := artifact("checkpoint")
	absent.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: "the runtime does not offer it"}
	if _, err := b.w.Add(b.Context(), absent, nil); err != nil {
		b.Fatal(err)
	}
	if err := b.w.WriteJSON(evidence.EvidenceJSON, map[string]any{"schema": 1}); err != nil {
		b.Fatal(err)
	}
	if err := b.w.WriteTag(evidence.ReportEN, []byte("<!doctype html>\n")); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) seal(key ssh.Signer) bag.Sealed {
	b.Helper()
	if _, err := b.w.Freeze(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.record(evidence.ActSealed)
	if err := b.log.Close(); err != nil {
		b.Fatal(err)
	}
	s, err := b.w.Seal(b.Context(), key, info())
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func info() bag.Info {
	return bag.Info{Case: caseID, Software: "irkit/test", Principal: who, Organization: "Example\nIrkit-Custody-Head: 00", Earlier: &evidence.Earlier{Bundle: "irkit-2026-0142-00", Seal: "aa", Head: "bb"}}
}

// continued appends n records after the seal.
func (b *bench) continued(n int) {
	b.Helper()
	root, err := os.OpenRoot(b.caseDir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	later, err := custody.Continue(root, b.logOptions())
	if err != nil {
		b.Fatal(err)
	}
	defer later.Close()
	for range n {
		if _, _, err := later.Append(b.Context(), evidence.Record{Action: evidence.ActHashVerified, Result: "ok"}); err != nil {
			b.Fatal(err)
		}
	}
}

// signersFile is an allowed_signers file outside the bundle.
func signersFile(t testing.TB, keys ...ssh.Signer) string {
	t.Helper()
	var text string
	for _, k := range keys {
		line, err := seal.AllowedSigner(who, k.PublicKey(), evidence.SealNamespace)
		if err != nil {
			t.Fatal(err)
		}
		text += line
	}
	name := filepath.Join(t.TempDir(), "allowed_signers")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func copyCase(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "case")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func sum(b []byte) evidence.Digest { return sha256.Sum256(b) }
