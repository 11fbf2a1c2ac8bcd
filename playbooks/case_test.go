package playbooks

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"irkit.dev/irkit/evidence"
)

var folded = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

func FuzzFoldCase(f *testing.F) {
	for _, s := range []string{"", "INC-42", "ação!", "--", "../../etc", strings.Repeat("a-", 60), "K\u212aelvin", "İ", "a\x00b", "\xff\xfe", "-a-", strings.Repeat("é", 50) + "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := FoldCase(s)
		if err != nil {
			if strings.ContainsAny(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789") {
				t.Fatalf("%q is refused: %v", s, err)
			}
			return
		}
		if !folded.MatchString(id) {
			t.Fatalf("%q folds to %q", s, id)
		}
		if wrong := validation.IsValidLabelValue(id); len(wrong) > 0 {
			t.Fatalf("%q folds to %q, which no label takes: %q", s, id, wrong)
		}
		if again, err := FoldCase(id); err != nil || again != id {
			t.Fatalf("%q folds to %q, and that to %q (%v)", s, id, again, err)
		}
	})
}

func TestFoldCase(t *testing.T) {
	for in, want := range map[string]string{
		"INC-42": "inc-42", "Inc 42: web / prod": "inc-42-web-prod", "--a--b--": "a-b", "ação": "a-o", strings.Repeat("ab-", 20): "ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-a",
	} {
		if got, err := FoldCase(in); err != nil || got != want {
			t.Errorf("%q folds to %q (%v), want %q", in, got, err, want)
		}
	}
}

func TestACaseThatNobodyNamed(t *testing.T) {
	at := time.Date(2026, 11, 22, 23, 30, 0, 0, time.FixedZone("", -3*3600)) // the 23rd in UTC
	for pod, want := range map[string]string{
		"web-0":                               "20261123-web-0-0c5a9d1e",
		"my.pod.with.dots":                    "20261123-my-pod-with-dots-0c5a9d1e",
		strings.Repeat("x", 253):              "20261123-" + strings.Repeat("x", 22) + "-0c5a9d1e",
		strings.Repeat("x", 21) + "-yyyyyyyy": "20261123-" + strings.Repeat("x", 21) + "-0c5a9d1e",
	} {
		got := NewCase(evidence.Target{Pod: pod, UID: "0c5a9d1e-1111"}, at)
		if got != want || !folded.MatchString(got) {
			t.Errorf("pod %s: case %q, want %q", pod, got, want)
		}
	}
}

func TestTheCaseKeyIsMadeOnceAndForItsOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	k, err := LoadKey(dir)
	if err != nil || k == (Key{}) {
		t.Fatalf("%x, %v", k, err)
	}
	if again, err := LoadKey(dir); err != nil || again != k {
		t.Errorf("another key the second time: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, keyName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if other, err := LoadKey(t.TempDir()); err != nil || other == k {
		t.Errorf("two cases have one key (%v)", err)
	}
	a, b := k.For("values"), k.For("hand")
	if bytes.Equal(a, b) || bytes.Contains(append(a, b...), k[:8]) || !bytes.Equal(a, k.For("values")) {
		t.Error("the keys of two uses are not apart, or show the case key")
	}
	// What a crash cut short is no key: it would silently change every digest.
	if err := os.WriteFile(filepath.Join(dir, keyName), k[:31], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(dir); err == nil || !strings.Contains(err.Error(), "31 bytes") {
		t.Errorf("a key of 31 bytes: %v", err)
	}
	if _, err := LoadKey(filepath.Join(dir, "absent")); err == nil {
		t.Error("a key in a folder that is not there")
	}
}

func TestCasesOfAFreshMachine(t *testing.T) {
	home := t.TempDir()
	c := Cases{Home: home}
	if ids, err := c.All(); err != nil || len(ids) != 0 {
		t.Errorf("%q, %v", ids, err)
	}
	if _, err := c.History("c-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if id, open, err := c.OpenOf("uid"); err != nil || open {
		t.Errorf("%q, %v", id, err)
	}
	if entries, err := os.ReadDir(home); err != nil || len(entries) != 0 {
		t.Errorf("reading made %v (%v)", entries, err)
	}
}
