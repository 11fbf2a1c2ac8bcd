package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

const events = `
{"Action":"start","Package":"p/one"}
{"Action":"run","Package":"p/one","Test":"TestA"}
{"Action":"output","Package":"p/one","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p/one","Test":"TestA","Elapsed":0}
{"Action":"output","Package":"p/one","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p/one","Test":"TestB","Output":"    b_test.go:3: needs root\n"}
{"Action":"output","Package":"p/one","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p/one","Test":"TestB","Elapsed":0}
{"Action":"output","Package":"p/one","Output":"PASS\n"}
{"Action":"output","Package":"p/one","Output":"ok  \tp/one\t0.1s\n"}
{"Action":"pass","Package":"p/one","Elapsed":0.1}
`

const failing = `
{"Action":"output","Package":"p/two","Test":"TestC","Output":"    c_test.go:9: got 1, want 2\n"}
{"Action":"fail","Package":"p/two","Test":"TestC","Elapsed":0}
{"Action":"output","Package":"p/two","Output":"FAIL\n"}
{"Action":"output","Package":"p/two","Output":"FAIL\tp/two\t0.1s\n"}
{"Action":"fail","Package":"p/two","Elapsed":0.1}
`

const unbuilt = `
{"ImportPath":"p/three","Action":"build-output","Output":"./x.go:1:1: undefined: y\n"}
{"ImportPath":"p/three","Action":"build-fail"}
{"Action":"output","Package":"p/three","Output":"FAIL\tp/three [build failed]\n"}
{"Action":"fail","Package":"p/three","Elapsed":0,"FailedBuild":"p/three"}
make: *** [Makefile:45: test] Error 1
`

func TestCounts(t *testing.T) {
	for name, c := range map[string]struct {
		in     string
		want   counts
		prints []string
		hides  []string
	}{
		"passing": {events, counts{1, 0, 1}, []string{"ok  \tp/one\t0.1s", "skipped p/one TestB: b_test.go:3: needs root"}, []string{"=== RUN", "PASS"}},
		"failing": {events + failing, counts{1, 1, 1}, []string{"c_test.go:9: got 1, want 2", "FAIL\tp/two"}, nil},
		"unbuilt": {unbuilt, counts{0, 1, 0}, []string{"undefined: y", "[build failed]", "make: *** [Makefile:45: test] Error 1"}, nil},
		"nothing": {"", counts{}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			got, err := read(strings.NewReader(c.in), &out)
			if err != nil || got != c.want {
				t.Errorf("got %v and %v, want %v", got, err, c.want)
			}
			for _, p := range c.prints {
				if !strings.Contains(out.String(), p) {
					t.Errorf("does not print %q:\n%s", p, out.String())
				}
			}
			for _, h := range c.hides {
				if strings.Contains(out.String(), h) {
					t.Errorf("prints %q:\n%s", h, out.String())
				}
			}
		})
	}
}

func TestRunsAddUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "counts")
	var out strings.Builder
	if err := run(strings.NewReader(events), &out, file, false); err != nil {
		t.Fatal(err)
	}
	if err := run(strings.NewReader(failing), &out, file, false); !errors.Is(err, errFailed) {
		t.Fatalf("a failure answers %v", err)
	}
	out.Reset()
	if err := run(nil, &out, file, true); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "1 passed, 1 failed, 1 skipped\n" {
		t.Errorf("closes with %q", got)
	}
}
