package drift

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
)

// List writes a comparison as JSON lines, one Row each.
func List(ctx context.Context, x *Index, w *Walk, to io.Writer) (Summary, error) {
	out := bufio.NewWriterSize(to, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	sum, err := Compare(ctx, x, w, func(r Row) error { return enc.Encode(r) })
	return sum, errors.Join(err, out.Flush())
}

// Lines writes an image's files as JSON lines, one File each.
func (x *Index) Lines(ctx context.Context, to io.Writer) error {
	out := bufio.NewWriterSize(to, 64<<10)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	err := x.Each(ctx, func(f File) error { return enc.Encode(f) })
	return errors.Join(err, out.Flush())
}
