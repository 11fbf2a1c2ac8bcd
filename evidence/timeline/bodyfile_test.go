package timeline_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/timeline"
)

// body writes the body of a bag whose entries hold these lines, kind and ordinal each.
func body(t *testing.T, indexes map[[2]string][]any) string {
	t.Helper()
	bag, entries := fstest.MapFS{}, []any{}
	for of, lines := range indexes {
		f, path := file(t, lines...), fmt.Sprintf("data/04-filesystem/0001-%s-%s.jsonl", of[1], of[0])
		bag[path] = f
		entries = append(entries, evidence.Entry{ID: "0001", Kind: of[0], Ordinal: of[1], Size: int64(len(f.Data)), Parts: []evidence.Part{{Path: path}}})
	}
	bag[evidence.EntriesJSONL] = file(t, entries...)
	var out bytes.Buffer
	if err := timeline.Bodyfile(bag, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// fields are those of the one line that is no comment.
func fields(t *testing.T, out string) []string {
	t.Helper()
	var lines []string
	for l := range strings.Lines(out) {
		if !strings.HasPrefix(l, "#") {
			lines = append(lines, strings.TrimSuffix(l, "\n"))
		}
	}
	if len(lines) != 1 {
		t.Fatalf("%d lines in %q, want 1", len(lines), out)
	}
	f := strings.Split(lines[0], "|")
	if len(f) != 11 {
		t.Fatalf("%d fields in %q, want 11", len(f), lines[0])
	}
	return f
}

func TestBodyfileFields(t *testing.T) {
	for _, c := range []struct {
		name string
		in   map[string]any
		want string
	}{
		{"a program", map[string]any{"path": "/bin/su", "type": "file", "mode": "04755", "uid": 1, "gid": 2, "inode": 77, "size": 9,
			"atime": "1970-01-01T00:00:10.9Z", "mtime": "1970-01-01T00:00:20Z", "ctime": "1970-01-01T00:00:30Z", "btime": "1970-01-01T00:00:40Z"},
			"0|c0:/bin/su|77|r/rrwsr-xr-x|1|2|9|10|20|30|40"},
		{"no times", map[string]any{"path": "/d", "type": "dir", "mode": "01777", "mtime": "1960-01-01T00:00:00Z"},
			"0|c0:/d|0|d/drwxrwxrwt|0|0|0|-1|-1|-1|-1"},
		{"a link", map[string]any{"path": "/l", "type": "symlink", "mode": "0777", "link": "a|b"},
			"0|c0:/l -> a%7Cb|0|l/lrwxrwxrwx|0|0|0|-1|-1|-1|-1"},
		{"bits without x", map[string]any{"path": "/s", "type": "socket", "mode": "07000"},
			"0|c0:/s|0|s/s--S--S--T|0|0|0|-1|-1|-1|-1"},
		{"a type that is none", map[string]any{"path": "/u", "type": "unknown"},
			"0|c0:/u|0|-/----------|0|0|0|-1|-1|-1|-1"},
		{"exact bytes", map[string]any{"path": "/\ufffd", "path_b64": base64.StdEncoding.EncodeToString([]byte("/\xff\n%")), "type": "fifo", "mode": "0600"},
			`0|c0:/\xff\x0a%25|0|p/prw-------|0|0|0|-1|-1|-1|-1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := body(t, map[[2]string][]any{{"filesystem-index", "c0"}: {c.in}})
			if got := strings.Join(fields(t, out), "|"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A container's whole file system counts before its known places; one without has these.
func TestBodyfileTakesEachNameOnce(t *testing.T) {
	one := map[string]any{"path": "/x", "type": "file"}
	out := body(t, map[[2]string][]any{
		{"filesystem-index", "c0"}: {one}, {"persistence-index", "c0"}: {one}, {"persistence-index", "c1"}: {one}, {"processes", "c0"}: {one},
	})
	if strings.Count(out, "c0:/x") != 1 || strings.Count(out, "c1:/x") != 1 || strings.Count(out, "\n") != 3 {
		t.Errorf("body:\n%s", out)
	}
}

// What can be read is there, and what cannot is said.
func TestBodyfileOfABrokenIndex(t *testing.T) {
	bag := fstest.MapFS{
		evidence.EntriesJSONL: file(t, evidence.Entry{ID: "0002", Kind: "filesystem-index", Ordinal: "c0", Size: 1, Parts: []evidence.Part{{Path: "data/gone"}}}),
	}
	var out bytes.Buffer
	if err := timeline.Bodyfile(bag, &out); err != nil || !strings.Contains(out.String(), "# entry 0002 is not whole here") {
		t.Errorf("%v: %q", err, out.String())
	}
	bag["data/gone"] = &fstest.MapFile{Data: []byte("{")}
	out.Reset()
	if err := timeline.Bodyfile(bag, &out); err != nil || !strings.Contains(out.String(), "1 lines of the index cannot be read") {
		t.Errorf("%v: %q", err, out.String())
	}
	if err := timeline.Bodyfile(bag, deaf{}); err == nil {
		t.Error("a writer that fails is no error")
	}
}

type deaf struct{}

func (deaf) Write([]byte) (int, error) { return 0, errors.New("deaf") }

var escaped = regexp.MustCompile(`\\x[0-9a-f]{2}|%7C|%25`)

// unescape is what a reader of the body does.
func unescape(s string) string {
	return escaped.ReplaceAllStringFunc(s, func(e string) string {
		v, err := strconv.ParseUint(strings.TrimLeft(e, `\x%`), 16, 8)
		if err != nil {
			panic(err)
		}
		return string([]byte{byte(v)})
	})
}

// checkName holds the format's rules for one hostile name: one line, eleven fields, nothing in it
// that moves a terminal, and the exact name comes back.
func checkName(t *testing.T, name string) {
	t.Helper()
	in := map[string]any{"path": strings.ToValidUTF8(name, "\ufffd"), "path_b64": base64.StdEncoding.EncodeToString([]byte(name)), "type": "file", "mode": "0644"}
	if name == "" {
		return
	}
	f := fields(t, body(t, map[[2]string][]any{{"filesystem-index", "c0"}: {in}}))
	if got := unescape(strings.TrimPrefix(f[1], "c0:")); got != name {
		t.Errorf("%q comes back as %q", name, got)
	}
	if !utf8.ValidString(f[1]) {
		t.Errorf("%q is no UTF-8", f[1])
	}
	for _, r := range f[1] {
		if !strconv.IsPrint(r) {
			t.Errorf("%q holds %U", f[1], r)
		}
	}
}

func TestBodyfileHostileNames(t *testing.T) {
	for _, name := range []string{"/a|b", "/100%", "/%7C", "/\\x7c", "/\n0|x|1", "/\r", "/\x1b[2J", "/\u202e", "/\u200b", "/\x9b", "/\xff\xfe", "/ -> b", "/#", "/ü", "/\ufffd"} {
		checkName(t, name)
	}
	const seed = 20261123
	rnd := rand.New(rand.NewPCG(seed, 1)) // the seed is in the test's text: a failure comes again
	for range 2000 {
		b := make([]byte, rnd.IntN(40))
		for i := range b {
			b[i] = "|%\\x7C25\n\r\x00\x1b\x9b\xe2\x80\xae\xff ab->"[rnd.IntN(22)]
		}
		checkName(t, "/"+string(b))
	}
}

func FuzzBodyfileName(f *testing.F) {
	f.Add("/a|b%\\\n\x1b\xff\u202e")
	f.Fuzz(checkName)
}
