package evidence_test

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"

	"irkit.dev/irkit/evidence"
)

func FuzzCheckKey(f *testing.F) {
	for _, s := range []string{"a", "a/b-c/d.txt", "", "/", "a/", "../a", "a/../b", "a\\b", "a\x00b", "a//b", ".", "é", strings.Repeat("a", 1025)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := evidence.CheckKey(s); err != nil {
			if !errors.Is(err, evidence.ErrKey) {
				t.Fatalf("CheckKey(%q) = %v, want ErrKey", s, err)
			}
			return
		}
		if !fs.ValidPath(s) || path.Clean(s) != s || strings.ContainsAny(s, "\\\x00\n") {
			t.Fatalf("CheckKey lets %q pass", s)
		}
	})
}
