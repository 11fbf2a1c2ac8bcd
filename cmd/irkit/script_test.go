package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The command line is specified by scripts: testdata/*.txt run the real program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"irkit": func() {
			d := &door{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv, now: time.Now}
			os.Exit(d.run(context.Background(), os.Args[1:]))
		},
	})
}

func TestScripts(t *testing.T) {
	home := recorded(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("KUBECONFIG", "")
			e.Setenv("ID", golden)
			return errors.Join(
				os.CopyFS(filepath.Join(e.WorkDir, "golden"), os.DirFS("../../evidence/verify/testdata/golden-v1")),
				os.CopyFS(filepath.Join(e.WorkDir, "home"), os.DirFS(home)))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "tamper": tamper, "json": isJSON, "copytree": copytree},
	})
}

// golden is the bundle that every version of irkit verifies.
const golden = "irkit-golden-01kb0000000000000000000000"

// tamper FILE: its last byte becomes another one.
func tamper(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	if len(b) == 0 {
		b = append(b, 0)
	}
	b[len(b)-1] ^= 1
	ts.Check(os.Chmod(path, 0o600))
	ts.Check(os.WriteFile(path, b, 0o600))
}

// copytree FROM TO: a folder, with all that is in it.
func copytree(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.CopyFS(ts.MkAbs(args[1]), os.DirFS(ts.MkAbs(args[0]))))
}

// json FIELD=VALUE…: stdout is one JSON value with these fields at its top; of a list, its
// first element. VALUE is JSON too, or a plain string.
func isJSON(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	text := ts.ReadFile("stdout")
	d := json.NewDecoder(strings.NewReader(text))
	ts.Check(d.Decode(&v))
	if d.More() {
		ts.Fatalf("more than one value on stdout")
	}
	if list, ok := v.([]any); ok && len(list) > 0 {
		v = list[0]
	}
	for _, arg := range args {
		field, want, _ := strings.Cut(arg, "=")
		object, _ := v.(map[string]any)
		got, there := object[field]
		b, err := json.Marshal(got)
		ts.Check(err)
		if !there || string(b) != want && got != any(want) {
			ts.Fatalf("%s is %s, want %s", field, b, want)
		}
	}
}

// status N irkit …: the program must end with exit status N.
func status(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = err.Error()
	}
	want := "exit status " + args[0]
	if args[0] == "0" {
		want = "0"
	}
	if got != want {
		ts.Fatalf("%q ended with %s, want %s", args[1:], got, want)
	}
}
