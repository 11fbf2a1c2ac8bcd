package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// order moves flags before the arguments, since urfave/cli v2 takes everything after
// the first argument for arguments: `irkit contain web-0 -n prod` would act in
// namespace default and say nothing. Words after -- stay as they are. Command words
// are followed down to the command that is called.
func order(app *cli.App, args []string) []string {
	flags, commands := app.Flags, app.Commands
	var out, pending []string
	for i := 0; i < len(args); i++ {
		word := args[i]
		switch {
		case word == "--":
			return append(append(out, pending...), args[i:]...)
		case len(word) > 1 && word[0] == '-':
			out = append(out, word)
			if takesValue(flags, word) && i+1 < len(args) {
				i++
				out = append(out, args[i])
			}
		default:
			if c := command(commands, word); c != nil && len(pending) == 0 {
				out = append(out, word)
				flags, commands = append(flags, c.Flags...), c.Subcommands
				continue
			}
			pending = append(pending, word)
			commands = nil
		}
	}
	return append(out, pending...)
}

func command(commands []*cli.Command, word string) *cli.Command {
	for _, c := range commands {
		if c.HasName(word) {
			return c
		}
	}
	return nil
}

// takesValue tells whether the next word belongs to this flag. An unknown flag takes
// none; the library will then refuse it by name.
func takesValue(flags []cli.Flag, word string) bool {
	name := strings.TrimLeft(word, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		for _, n := range f.Names() {
			if n != name {
				continue
			}
			_, boolean := f.(*cli.BoolFlag)
			return !boolean
		}
	}
	return false
}
