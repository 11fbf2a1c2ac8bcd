package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sigs.k8s.io/yaml"

	"irkit.dev/irkit/evidence"
)

// A plan's writes in full: what each field is now, and what it shall be.

// paint colours what is taken away and what is added; both are empty where nobody sees it.
type paint struct{ minus, plus, end string }

// painted is colour for a terminal whose owner did not say NO_COLOR (no-color.org).
func (d *door) painted(stream any) paint {
	if no, set := d.getenv("NO_COLOR"); set && no != "" {
		return paint{}
	}
	if kind, _ := d.getenv("TERM"); kind == "dumb" {
		return paint{}
	}
	if f, ok := stream.(*os.File); ok {
		if _, ok := terminal(f); ok {
			return paint{minus: "\x1b[31m", plus: "\x1b[32m", end: "\x1b[0m"}
		}
	}
	return paint{}
}

// printDiffs prints every change, no line wider than width.
func printDiffs(w io.Writer, width int, p paint, changes []evidence.Change) {
	if len(changes) == 0 {
		return
	}
	fmt.Fprintf(w, "\nfield by field (- as it is, + as it shall be)\n")
	for _, c := range changes {
		fmt.Fprintf(w, "\n  %s\n", cut(fmt.Sprintf("%s %s  (%s)", c.Op, quoteLine(quote(c.Object.String())), c.Layer), width-2))
		for _, line := range diff(c) {
			colour := p.plus
			if line[0] == '-' {
				colour = p.minus
			}
			end := ""
			if colour != "" {
				end = p.end
			}
			fmt.Fprintf(w, "    %s%s%s\n", colour, cut(quoteLine(line), width-4), end)
		}
	}
}

// diff is a change as lines that begin with - or +. An object that is created or deleted
// is YAML; of one that is altered only the fields that become others stand there.
func diff(c evidence.Change) []string {
	before, after := value(c.Before), value(c.After)
	switch {
	case before == nil && after == nil:
		return []string{"+ (made at the write itself)"}
	case before == nil && c.Op != evidence.OpPatch:
		return marked('+', after)
	case after == nil && c.Op != evidence.OpPatch:
		return marked('-', before)
	}
	was, shall := map[string]string{}, map[string]string{}
	flatten("", before, was)
	flatten("", after, shall)
	paths := slices.Sorted(maps.Keys(was))
	for _, path := range slices.Sorted(maps.Keys(shall)) {
		if _, both := was[path]; !both {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	var out []string
	for _, path := range paths {
		old, new := was[path], shall[path]
		if old == new {
			continue
		}
		if old != "" {
			out = append(out, "- "+path+": "+old)
		}
		if new != "" {
			out = append(out, "+ "+path+": "+new)
		}
	}
	if out == nil {
		out = []string{"+ (nothing: it is so already)"}
	}
	return out
}

// value reads JSON; null, and what is none, is nil.
func value(raw json.RawMessage) any {
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}

// marked is a whole object as YAML, without what the API server fills in.
func marked(mark byte, v any) []string {
	if m, ok := v.(map[string]any); ok {
		if meta, ok := m["metadata"].(map[string]any); ok && meta["creationTimestamp"] == nil {
			delete(meta, "creationTimestamp")
		}
		if status, ok := m["status"].(map[string]any); ok && len(status) == 0 {
			delete(m, "status")
		}
	}
	b, err := yaml.Marshal(v)
	if err != nil {
		return []string{string(mark) + " (not readable: " + err.Error() + ")"}
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		out = append(out, string(mark)+" "+strings.TrimSuffix(line, "\n"))
	}
	return out
}

// flatten lists the leaves of a value by their path; a leaf that is null is absent, and
// so is a path with nothing under it.
func flatten(path string, v any, into map[string]string) {
	switch v := v.(type) {
	case nil:
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			flatten(join(path, k), v[k], into)
		}
	case []any:
		for i, one := range v {
			flatten(path+"["+strconv.Itoa(i)+"]", one, into)
		}
	default:
		into[path] = scalar(v)
	}
}

var (
	plainKey   = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	plainValue = regexp.MustCompile(`^[A-Za-z0-9_/@%+=,-][A-Za-z0-9_./:@%+=,-]*$`)
)

// join is a path one key further: a key that is no plain word stands in brackets.
func join(path, key string) string {
	switch {
	case !plainKey.MatchString(key):
		if !plainValue.MatchString(key) {
			key = strconv.Quote(key)
		}
		return path + "[" + key + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

// scalar quotes text that could be taken for anything else, so that a label that says
// "true" or has a control character in it is seen for what it is.
func scalar(v any) string {
	s, ok := v.(string)
	if !ok {
		return fmt.Sprint(v)
	}
	if plainValue.MatchString(s) && s != "true" && s != "false" && s != "null" {
		return s
	}
	return strconv.QuoteToGraphic(s)
}

func quoteLine(s string) string { return strings.Map(visible, strings.ReplaceAll(s, "\t", " ")) }

// cut shortens a line to a width, and says by how much.
func cut(s string, width int) string {
	n := utf8.RuneCountInString(s)
	if n <= width {
		return s
	}
	tail := fmt.Sprintf("… (%d more)", n-width)
	keep := max(width-utf8.RuneCountInString(tail)-2, 1) // the number may grow by what the tail itself takes
	return string([]rune(s)[:keep]) + fmt.Sprintf("… (%d more)", n-keep)
}
