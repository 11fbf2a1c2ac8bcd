package parts

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHashFollowsWhatDecidesTheBinary(t *testing.T) {
	source := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(source, "part", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	part := Part{Name: "part"}
	hash := func() string {
		t.Helper()
		h, err := part.hash(source)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	write("go.mod", "module a")
	write("main.go", "package main")
	first := hash()

	write("main_test.go", "package main")
	write("README.md", "words")
	if hash() != first {
		t.Error("what does not reach the binary changed the hash")
	}
	for name, change := range map[string]func(){
		"a source":      func() { write("main.go", "package main // b") },
		"the module":    func() { write("go.mod", "module b") },
		"a new source":  func() { write("deep/b.go", "package deep") },
		"the way built": func() { part.Tags = "seccomp" },
	} {
		before := hash()
		change()
		if hash() == before {
			t.Errorf("%s changed, the hash did not", name)
		}
	}
}
