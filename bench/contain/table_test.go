package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNeverIsLongerThanAnything(t *testing.T) {
	s := func(ms ...int) (out []seen) {
		for _, n := range ms {
			d := never
			if n >= 0 {
				d = time.Duration(n) * time.Millisecond
			}
			out = append(out, seen{established: d, fresh: d})
		}
		return out
	}
	for name, c := range map[string]struct {
		in   []seen
		want time.Duration
	}{
		"nothing measured":     {nil, never},
		"one":                  {s(7), 7 * time.Millisecond},
		"the middle":           {s(900, 1, 30), 30 * time.Millisecond},
		"never once":           {s(-1, 1, 30), 30 * time.Millisecond},
		"never mostly":         {s(-1, 1, -1), never},
		"one of two goes on":   {[]seen{{established: 5, fresh: never}}, never},
		"the later of the two": {[]seen{{established: 5, fresh: 9}}, 9},
	} {
		if got := contained(way{seen: c.in}); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestTableSaysWhatWasNotMeasured(t *testing.T) {
	var out strings.Builder
	ways := []way{
		{name: "ours", seen: []seen{{300 * time.Millisecond, 200 * time.Millisecond}}},
		{name: "theirs", seen: []seen{{never, never}}},
		{name: "limit", lacks: "no nft here"},
	}
	if err := table(&out, ways); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"300ms", "no nft here", "theirs never contained"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, out.String())
		}
	}
}

// The log is followed while it is written: a line may come in two halves, and what stood
// there before, or is of another pod, is not heard.
func TestEarHearsOnlyWhatComes(t *testing.T) {
	b := &bench{log: filepath.Join(t.TempDir(), "c2.log")}
	f, err := os.Create(b.log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	write := func(text string) {
		t.Helper()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"ms":1000,"event":"line","peer":"10.0.0.7:1"}` + "\n")
	e, err := b.listen("10.0.0.7")
	if err != nil {
		t.Fatal(err)
	}
	defer e.file.Close()
	hears := func(line, accept int64) {
		t.Helper()
		if err := e.hear(); err != nil {
			t.Fatal(err)
		}
		if unix(e.line) != line || unix(e.accept) != accept {
			t.Errorf("heard %v and %v, want %d and %d", e.line, e.accept, line, accept)
		}
	}
	hears(0, 0)
	write(`{"ms":2000,"event":"line","peer":"10.0.0.77:1"}` + "\n" + `{"ms":2100,"event":"acc`)
	hears(0, 0)
	write(`ept","peer":"10.0.0.7:2"}` + "\nnot json\n" + `{"ms":2200,"event":"line","peer":"10.0.0.7:1"}` + "\n")
	hears(2200, 2100)
	write(`{"ms":2300,"event":"close","peer":"10.0.0.7:1"}` + "\n")
	hears(2200, 2100)
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
