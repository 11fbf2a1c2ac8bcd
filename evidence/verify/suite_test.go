package verify

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// suite is the BagIt conformance suite of the Library of Congress.
func suite(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("IRKIT_BAGIT_SUITE")
	if dir == "" {
		t.Skip("IRKIT_BAGIT_SUITE does not name the BagIt conformance suite")
	}
	return dir
}

func bags(t *testing.T, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(suite(t), pattern))
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(p string) bool {
		info, err := os.Stat(p)
		return err != nil || !info.IsDir()
	})
	if len(all) == 0 {
		t.Fatalf("no bags in %s", pattern)
	}
	return all
}

func failing(f []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(f), func(x Finding) bool { return x.Warning })
}

func has(f []Finding, code string) bool {
	return slices.ContainsFunc(f, func(x Finding) bool { return x.Code == code && !x.Warning })
}

func TestSuiteOfVersion10(t *testing.T) {
	for _, dir := range bags(t, "v1.0/valid/*") {
		if f, err := Bag(t.Context(), dir); err != nil || len(failing(f)) > 0 {
			t.Errorf("%s: %v, %v", filepath.Base(dir), f, err)
		}
	}
	for _, dir := range bags(t, "v1.0/invalid/*") {
		if f, err := Bag(t.Context(), dir); err != nil || len(failing(f)) == 0 {
			t.Errorf("%s: passes, %v", filepath.Base(dir), err)
		}
	}
}

// Older versions do not pass for being older; these must be refused for the right reason.
func TestSuiteOfHostilePaths(t *testing.T) {
	for _, pattern := range []string{"v0.97/linux-only/*", "v0.97/windows-only/*", "v0.97/invalid/out-of-scope*"} {
		for _, dir := range bags(t, pattern) {
			f, err := Bag(t.Context(), dir)
			// %HomeDrive% is a plain name here, and still none of the payload's.
			if err != nil || !has(f, "out-of-scope") && !has(f, "fetch") && !has(f, "manifest-form") {
				t.Errorf("%s: %v, %v", filepath.Base(dir), f, err)
			}
		}
	}
	for name, code := range map[string]string{
		"extra-file-in-bag": "extra-file", "missing-bagit.txt": "bagit-txt", "bom-in-bagit.txt": "bagit-txt",
		"invalid-version-number": "bagit-txt", "baginfo-missing-encoding": "bagit-txt",
		"same-filename-listed-twice-with-different-hashes": "listed-twice",
	} {
		f, err := Bag(t.Context(), filepath.Join(suite(t), "v0.97/invalid", name))
		if err != nil || !has(f, code) {
			t.Errorf("%s: %v, %v", name, f, err)
		}
	}
	// Every bag of the suite is read to an end, whatever it holds.
	for _, dir := range bags(t, "v*/*/*") {
		if _, err := Bag(t.Context(), dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		if r, err := Bundle(t.Context(), dir, Options{}); err != nil || r.Integrity != Failed {
			t.Errorf("%s: as a bundle: %s, %v", dir, r.Integrity, err)
		}
	}
}
