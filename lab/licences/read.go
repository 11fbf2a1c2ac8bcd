package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	classifier "github.com/google/licenseclassifier/v2"
	"github.com/google/licenseclassifier/v2/assets"
)

// allowed are the licences that a module may have: they ask for a notice, and
// MPL-2.0 for the source of its own files. The order is that of the summary.
func allowed() []string {
	return []string{"Apache-2.0", "MIT", "BSD-3-Clause", "BSD-2-Clause", "ISC", "CC0-1.0", "MPL-2.0"}
}

// A licence text has one of these names, with or without an extension; source
// files such as license.go are none, and LICENSE.docs is that of words, which no program links.
var licenceFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|copyright)([-._].*)?$`)
var otherFile = regexp.MustCompile(`(?i)\.(go|json|yaml|yml|tmpl|sh|py|docs)$`)

type reader struct{ known *classifier.Classifier }

func newReader() (reader, error) {
	known, err := assets.DefaultClassifier()
	if err != nil {
		return reader{}, fmt.Errorf("load the known licences: %w", err)
	}
	return reader{known: known}, nil
}

// module answers the licences of everything of m that is linked. A module without
// a text, and a text that is no known licence, are errors.
func (r reader) module(m module) ([]string, error) {
	texts, err := licenceTexts(m)
	if err != nil {
		return nil, err
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s %s: no licence text in %s", m.Path, m.Version, m.Dir)
	}
	var names []string
	for _, path := range texts {
		body, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", m.Path, m.Version, err)
		}
		found := r.text(body)
		if len(found) == 0 {
			return nil, fmt.Errorf("%s %s: %s is no licence that is known", m.Path, m.Version, path)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// text answers the licences whose text stands in body.
func (r reader) text(body []byte) []string {
	var names []string
	for _, match := range r.known.Match(body).Matches {
		if match.MatchType == "License" && !slices.Contains(names, match.Name) {
			names = append(names, match.Name)
		}
	}
	return names
}

// licenceTexts are the texts in the folders from each linked package up to the root.
func licenceTexts(m module) ([]string, error) {
	var texts []string
	seen := map[string]bool{}
	for _, dir := range m.Packages {
		for ; !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			entries, err := os.ReadDir(dir)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", m.Path, m.Version, err)
			}
			for _, e := range entries {
				if e.Type().IsRegular() && licenceFile.MatchString(e.Name()) && !otherFile.MatchString(e.Name()) {
					texts = append(texts, filepath.Join(dir, e.Name()))
				}
			}
			if dir == m.Dir {
				break
			}
		}
	}
	return texts, nil
}
