package irkit_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// kept are the files that stand in the repository, and those about to.
func kept(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err == nil {
		return slices.DeleteFunc(strings.Split(string(out), "\x00"), func(f string) bool {
			info, err := os.Stat(f)
			return err != nil || !info.Mode().IsRegular()
		})
	}
	var all []string // an unpacked archive has no git folder
	err = filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestNothingOfTheWorkshop finds paths of one machine, and what stands beside the
// checkout only on some. The pattern is put together so that this file has none.
func TestNothingOfTheWorkshop(t *testing.T) {
	machine := regexp.MustCompile(strings.Join([]string{`\.\./` + `shared\b`, `(^|[^\w./-])/` + `work/`, `/` + `farm/[a-z]`}, "|"))
	looked := 0
	for _, f := range kept(t) {
		if f == ".ci/run" {
			continue // the one file that may look beside the repository
		}
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		looked++
		for n, line := range strings.Split(string(body), "\n") {
			if m := machine.FindString(line); m != "" {
				t.Errorf("%s:%d: %q is a path of one machine", f, n+1, m)
			}
		}
	}
	if looked < 50 {
		t.Errorf("looked at %d files only", looked)
	}
}

// TestRoomsHaveNames keeps out names that hide what is inside.
func TestRoomsHaveNames(t *testing.T) {
	hiding := regexp.MustCompile(`(^|/)(utils?|helpers?|common|types|models|managers?|misc)(/|\.go$)`)
	for _, f := range kept(t) {
		if strings.HasSuffix(f, ".go") && hiding.MatchString(f) {
			t.Errorf("%s: a name that hides what is inside", f)
		}
	}
}

// TestEveryPackageSaysWhatItIs wants a package comment everywhere, and one for each
// exported name of what others may import.
func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, r := range rooms(t, "./...") {
		entries, err := os.ReadDir(r.Dir)
		if err != nil {
			t.Fatal(err)
		}
		said, sources := false, 0
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
				continue
			}
			path := filepath.Join(r.Dir, e.Name())
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Errorf("%v", err)
				continue
			}
			if strings.HasPrefix(file.Name.Name, "irkit") && r.ImportPath == module {
				continue // deps.go only pins versions
			}
			sources++
			said = said || file.Doc != nil
			if file.Name.Name != "main" {
				undocumented(t, set, file)
			}
		}
		if sources > 0 && !said {
			t.Errorf("%s has no package comment", r.ImportPath)
		}
	}
}

// undocumented reports exported functions, methods of exported types, and types
// without a comment.
func undocumented(t *testing.T, set *token.FileSet, file *ast.File) {
	t.Helper()
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Recv == nil && d.Doc == nil {
				t.Errorf("%s: %s has no comment", set.Position(d.Pos()), d.Name.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				spec, ok := s.(*ast.TypeSpec)
				if ok && spec.Name.IsExported() && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
					t.Errorf("%s: %s has no comment", set.Position(spec.Pos()), spec.Name.Name)
				}
			}
		}
	}
}
