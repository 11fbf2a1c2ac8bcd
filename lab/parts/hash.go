package parts

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// hash is over everything that decides what a part's binaries are: its module's
// files, how they are built, and by which toolchain.
func (p Part) hash(source string) (string, error) {
	sum := sha256.New()
	fmt.Fprintf(sum, "%+v\n%s %s\n", p, runtime.Version(), runtime.GOARCH)

	module := filepath.Join(source, p.Name)
	var files []string
	err := filepath.WalkDir(module, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && isSource(path) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("cannot read the module of part %s: %w", p.Name, err)
	}
	slices.Sort(files)
	for _, path := range files {
		relative, err := filepath.Rel(module, path)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(sum, relative)
		if err := add(sum, path); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}

func isSource(path string) bool {
	name := filepath.Base(path)
	return name == "go.mod" || name == "go.sum" ||
		strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

func add(sum io.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(sum, file)
	return err
}
