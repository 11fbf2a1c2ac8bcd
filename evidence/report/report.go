// Package report makes one page for people out of a bag: self-contained, without
// script, readable by a lawyer and useful to a responder, on a screen and on paper.
//
// It is made from the bag's own files only, before or after the seal, and says of each
// that is missing that it is. Everything in it that the target chose is hostile: control,
// bidirectional and zero-width characters are shown as marked escapes, the page
// loads nothing, and its policy forbids that it could.
package report

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"io/fs"
)

// Options say how a report is made.
type Options struct {
	Lang string // en
}

//go:embed page/style.css
var style string

//go:embed page/page.html
var page string

//go:embed page/tables.html
var tables string

// Write reads the bag and writes the page. What the bag has not is said on the page, and what
// cannot be read too; an error is one of writing, of a language that there is not, or
// of the context.
func Write(ctx context.Context, bag fs.FS, w io.Writer, o Options) error {
	if o.Lang != "en" {
		return fmt.Errorf("write report: language %q: only en is there", o.Lang)
	}
	t, err := template.New("page").Funcs(functions()).Parse(page)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if _, err := t.Parse(tables); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	v := build(ctx, bag)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	sum := sha256.Sum256([]byte(style))
	v.Lang, v.CSS, v.Policy = o.Lang, template.CSS(style),
		"default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'; img-src data:; base-uri 'none'; form-action 'none'"
	if err := t.Execute(w, v); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
