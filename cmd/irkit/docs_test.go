package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

var (
	fenced  = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```")
	quoted  = regexp.MustCompile("`((?:bin/)?irkit [^`\n]+)`")
	spoken  = regexp.MustCompile(`^(?:\$ |# )?((?:[A-Z_]+=\S+ )*(?:\S*/)?irkit [a-z-].*)$`)
	comment = regexp.MustCompile(`\s{2,}#.*$|\s#\s.*$`)
)

// commandsIn are the command lines of irkit that a text quotes: in blocks, and in the middle
// of a sentence.
func commandsIn(text string) []string {
	var out []string
	for _, block := range fenced.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			if m := spoken.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				out = append(out, m[1])
			}
		}
	}
	for _, m := range quoted.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		out = append(out, m[1])
	}
	return out
}

// parses follows a command line down to its command, and holds its flags to those there are.
func parses(line string) (wrong string) {
	line = comment.ReplaceAllString(line, "")
	line, _, _ = strings.Cut(line, " | ")
	line, _, _ = strings.Cut(line, " > ")
	words := strings.Fields(line)
	for len(words) > 0 && !strings.HasSuffix(words[0], "irkit") {
		words = words[1:] // variables in front
	}
	app := new(door).app()
	commands, flags := app.Commands, []cli.Flag{&cli.BoolFlag{Name: "help", Aliases: []string{"h"}}}
	called := ""
	for i := 1; i < len(words); i++ {
		word := strings.TrimRight(words[i], ".,:;)")
		if word, _, _ = strings.Cut(word, "|"); strings.HasPrefix(word, "-") { // --this|--that
			name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
			if !slices.ContainsFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }) {
				return "no flag " + word + " of irkit" + called
			}
			if takesValue(flags, word) {
				i++
			}
			continue
		}
		if c := command(commands, word); c != nil {
			called, commands, flags = called+" "+word, c.Subcommands, append(flags, c.Flags...)
			continue
		}
		if len(commands) > 0 && called != " help" {
			return "no command " + word + " under irkit" + called
		}
	}
	if called == "" {
		return "no command"
	}
	return ""
}

func TestCommandsInTheDocumentsAreThere(t *testing.T) {
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	counted := 0
	for _, file := range append(files, "../../README.md", "../../SECURITY.md", "../../CHANGELOG.md") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, line := range commandsIn(string(b)) {
			counted++
			if wrong := parses(line); wrong != "" {
				t.Errorf("%s quotes %q: %s", filepath.Base(file), line, wrong)
			}
		}
	}
	if counted < 15 {
		t.Errorf("found only %d command lines", counted)
	}
}

// The check itself must be able to fail.
func TestCommandsThatAreNotThereAreFound(t *testing.T) {
	text := "Say `irkit kontain web-0`.\n```\nirkit contain web-0 --bogus\n$ IRKIT_IMAGE=x bin/irkit agent psuh REF   # push\nirkit rbac -n prod | kubectl apply -f -\nkubectl get pods\n```\n"
	all := commandsIn(text)
	var wrong []string
	for _, line := range all {
		if w := parses(line); w != "" {
			wrong = append(wrong, w)
		}
	}
	want := []string{"no flag --bogus of irkit contain", "no command psuh under irkit agent", "no command kontain under irkit"}
	if len(all) != 4 || !slices.Equal(wrong, want) {
		t.Errorf("of %q: %q", all, wrong)
	}
}
