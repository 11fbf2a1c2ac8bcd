package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/licenseclassifier/v2/assets"
)

// planted makes a module of one package in a folder below its root.
func planted(t *testing.T, files map[string]string) module {
	t.Helper()
	dir := t.TempDir()
	for name, body := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return module{Path: "example.org/m", Version: "v1.0.0", Dir: dir, Packages: []string{filepath.Join(dir, "deep", "pkg")}}
}

func known(t *testing.T, file string) string {
	t.Helper()
	body, err := assets.ReadLicenseFile("License/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestModule(t *testing.T) {
	r, err := newReader()
	if err != nil {
		t.Fatal(err)
	}
	source, apache, gpl := "package pkg\n", known(t, "Apache-2.0/pristine.txt"), known(t, "GPL-3.0/license.txt")
	for name, c := range map[string]struct {
		files map[string]string
		want  []string // licences
		fault string   // or what the error says
	}{
		"one":                 {map[string]string{"LICENSE": apache, "deep/pkg/a.go": source}, []string{"Apache-2.0"}, ""},
		"a copied folder's":   {map[string]string{"LICENSE": apache, "deep/COPYING.txt": gpl, "deep/pkg/a.go": source}, []string{"Apache-2.0", "GPL-3.0"}, ""},
		"another package's":   {map[string]string{"LICENSE": apache, "other/LICENSE": gpl, "deep/pkg/a.go": source}, []string{"Apache-2.0"}, ""},
		"of its docs":         {map[string]string{"LICENSE": apache, "LICENSE.docs": known(t, "CC-BY-SA-4.0/license.txt"), "deep/pkg/a.go": source}, []string{"Apache-2.0"}, ""},
		"none":                {map[string]string{"deep/pkg/license.go": source}, nil, "no licence text"},
		"words of their own":  {map[string]string{"LICENSE": "Do what you like, but not on Sundays.", "deep/pkg/a.go": source}, nil, "no licence that is known"},
		"one of two is known": {map[string]string{"LICENSE": known(t, "MIT/pristine.txt"), "deep/pkg/LICENCE.md": "Ask me.", "deep/pkg/a.go": source}, nil, "no licence that is known"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := r.module(planted(t, c.files))
			if c.fault == "" && (err != nil || !slices.Equal(got, c.want)) {
				t.Errorf("got %v and %v, want %v", got, err, c.want)
			}
			if c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
				t.Errorf("got %v and %v, want an error that says %q", got, err, c.fault)
			}
		})
	}
}

func TestAllowedAsksForNoMoreThanSource(t *testing.T) {
	for _, name := range allowed() {
		if strings.Contains(name, "GPL") || strings.Contains(name, "SSPL") || strings.Contains(name, "BUSL") {
			t.Errorf("%s is allowed", name)
		}
	}
}
