package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// said runs one command line without a world around it.
func said(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	d := &door{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, now: time.Now, getenv: func(string) (string, bool) { return "", false }}
	status = d.run(t.Context(), args)
	return status, out.String(), errs.String()
}

// everyCommand calls fn for each command that can be called, with its path.
func everyCommand(fn func(path []string, c *cli.Command)) {
	var walk func(path []string, all []*cli.Command)
	walk = func(path []string, all []*cli.Command) {
		for _, c := range all {
			at := append(slices.Clone(path), c.Name)
			fn(at, c)
			walk(at, c.Subcommands)
		}
	}
	walk(nil, new(door).app().Commands)
}

func TestHelpOfEveryCommand(t *testing.T) {
	seen := 0
	check := func(what, text string) {
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > helpWidth {
				t.Errorf("%s: a line of %d columns: %q", what, n, line)
			}
		}
		for _, word := range []string{"TODO", "FIXME", "XXX", "GLOBAL OPTIONS", "`", "%!", "<nil>"} {
			if strings.Contains(text, word) && !(word == "`" && strings.Count(text, "`")%2 == 0) {
				t.Errorf("%s says %q", what, word)
			}
		}
	}
	everyCommand(func(path []string, c *cli.Command) {
		if c.Name == "help" {
			return // of itself it says what the program does
		}
		seen++
		name := strings.Join(path, " ")
		status, out, errs := said(t, append(slices.Clone(path), "--help")...)
		if status != 0 || errs != "" || !strings.HasPrefix(out, "irkit "+name+" - "+c.Usage+"\n") {
			t.Errorf("irkit %s --help: %d, %q\n%s", name, status, errs, out)
		}
		if _, again, _ := said(t, append([]string{"help"}, path...)...); again != out {
			t.Errorf("irkit help %s is another text", name)
		}
		check(name, out)
		if first, _ := utf8.DecodeRuneInString(c.Usage); c.Usage == "" || unicode.IsUpper(first) || strings.HasSuffix(c.Usage, ".") {
			t.Errorf("%s: usage %q", name, c.Usage)
		}
		for _, f := range c.Flags {
			long, text := flagHelp(f)
			if f.Names()[0] == "help" {
				continue
			}
			if !strings.Contains(out, "--"+f.Names()[0]) {
				t.Errorf("%s: help does not tell of --%s", name, f.Names()[0])
			}
			if strings.TrimSpace(text) == "" || strings.Contains(long, "VALUE") || unicode.IsUpper([]rune(text)[0]) && !strings.Contains(long, strings.Fields(text)[0]) && text[:2] != "S3" {
				t.Errorf("%s: %s has the text %q", name, long, text)
			}
			if g := f.(cli.CategorizableFlag).GetCategory(); !slices.Contains(groups(), g) {
				t.Errorf("%s: --%s stands under %q, which help does not print", name, f.Names()[0], g)
			}
		}
	})
	if seen < 12 {
		t.Errorf("only %d commands", seen)
	}
	for _, args := range [][]string{{}, {"--help"}, {"-h"}, {"help"}} {
		status, out, _ := said(t, args...)
		if status != 0 || !strings.Contains(out, "Exit status:") || !strings.Contains(out, "  contain  ") {
			t.Errorf("irkit %q: %d\n%s", args, status, out)
		}
		check(fmt.Sprintf("irkit %q", args), out)
	}
}

func TestAnUnknownCommandIsAMistakeEverywhere(t *testing.T) {
	for _, args := range [][]string{{"kontain"}, {"help", "kontain"}, {"agent", "psuh"}, {"help", "agent", "psuh"}, {"help", "contain", "more"}} {
		status, out, errs := said(t, args...)
		if status != statusUsage || out != "" || !strings.Contains(errs, "irkit: error: no command") || !strings.Contains(errs, "irkit: hint: ") {
			t.Errorf("irkit %q: %d, %q, %q", args, status, out, errs)
		}
	}
}

// Flags that have few values are held to them by every command that has them.
func TestFlagsWithFewValues(t *testing.T) {
	everyCommand(func(path []string, c *cli.Command) {
		for _, f := range c.Flags {
			name := f.Names()[0]
			if name != "output" && name != "dry-run" {
				continue
			}
			status, out, errs := said(t, append(slices.Clone(path), "--"+name, "perhaps", "x")...)
			if status != statusUsage || out != "" || !strings.Contains(errs, "--"+name+" perhaps: want ") {
				t.Errorf("irkit %q --%s perhaps: %d, %q, %q", path, name, status, out, errs)
			}
		}
	})
}
