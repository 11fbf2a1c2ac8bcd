package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
)

// Help is made here and not by the library's templates, which let lines run as wide as
// they like and put sixty flags in one heap. No line is wider than helpWidth.
const (
	helpWidth  = 100
	helpIndent = 30 // where the text of a flag begins
)

// groups are the headings that flags stand under, in this order; the first is for those
// that name none.
func groups() []string {
	return []string{"", "Isolation", "Evidence", "Asking", "The hand beside the target", "The cluster", "Case and custody", "The store"}
}

// in puts flags under a heading.
func in(group string, all ...cli.Flag) []cli.Flag {
	for _, f := range all {
		switch f := f.(type) {
		case *cli.StringFlag:
			f.Category = group
		case *cli.StringSliceFlag:
			f.Category = group
		case *cli.BoolFlag:
			f.Category = group
		case *cli.DurationFlag:
			f.Category = group
		}
	}
	return all
}

// helpOf is a command's whole help. path is how it is called.
func helpOf(path string, c *cli.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s - %s\n\nUsage:\n  %s", path, c.Usage, path)
	switch {
	case len(c.Subcommands) > 0:
		b.WriteString(" COMMAND")
	case len(c.Flags) > 0:
		b.WriteString(" [flags]")
	}
	if c.ArgsUsage != "" {
		b.WriteString(" " + c.ArgsUsage)
	}
	b.WriteString("\n")
	if c.Description != "" {
		b.WriteString("\n" + c.Description + "\n")
	}
	if len(c.Subcommands) > 0 {
		b.WriteString("\nCommands:\n")
		for _, sub := range c.Subcommands {
			entry(&b, "  "+sub.Name, sub.Usage, 16)
		}
	}
	for _, g := range groups() {
		heading := "\n" + g + ":\n"
		if g == "" {
			heading = "\nFlags:\n"
		}
		for _, f := range c.Flags {
			if of, ok := f.(cli.CategorizableFlag); !ok || of.GetCategory() != g {
				continue
			}
			b.WriteString(heading)
			heading = ""
			name, text := flagHelp(f)
			entry(&b, name, text, helpIndent)
		}
	}
	return b.String()
}

var placeholder = regexp.MustCompile("`([^`]*)`")

// flagHelp is a flag as it is written, and what it does, with its default and variable.
func flagHelp(f cli.Flag) (name, text string) {
	name = "      "
	for _, n := range f.Names() {
		if len(n) == 1 {
			name = "  -" + n + ", "
		}
	}
	name += "--" + f.Names()[0]
	doc := f.(cli.DocGenerationFlag)
	if text = doc.GetUsage(); doc.TakesValue() {
		value := "VALUE"
		if m := placeholder.FindStringSubmatch(text); m != nil {
			value, text = m[1], strings.Replace(text, m[0], m[1], 1)
		}
		name += " " + value
	}
	if _, several := f.(cli.DocGenerationSliceFlag); several {
		text += "; may be repeated"
	}
	d := strings.Trim(doc.GetValue(), `"`)
	if _, long := f.(*cli.DurationFlag); long { // 24h0m0s is 24h
		d = strings.NewReplacer("m0s", "m", "h0m0s", "h").Replace(d)
	}
	if doc.TakesValue() && d != "" && d != "[]" {
		text += " (default: " + d + ")"
	}
	for _, v := range doc.GetEnvVars() {
		text += " [$" + v + "]"
	}
	return name, text
}

// entry writes one row, the text wrapped beside its name.
func entry(b *strings.Builder, name, text string, indent int) {
	lines := wrap(text, helpWidth-indent)
	if len(name) > indent-2 {
		fmt.Fprintln(b, name)
	} else {
		fmt.Fprintf(b, "%-*s%s\n", indent, name, lines[0])
		lines = lines[1:]
	}
	for _, line := range lines {
		fmt.Fprintf(b, "%*s%s\n", indent, "", line)
	}
}

// verbatim keeps the library's template from reading anything into a text.
func verbatim(text string) string { return strings.ReplaceAll(text, "{{", `{{"{{"}}`) }

// appHelp is the help of the whole program.
func appHelp(app *cli.App) string {
	top := &cli.Command{Usage: app.Usage, Description: app.Description, Subcommands: app.Commands}
	return helpOf("irkit", top) + "\nirkit COMMAND --help tells more of each.\n\n" + statusHelp + "\n"
}

func (d *door) help(app *cli.App) *cli.Command {
	return &cli.Command{
		Name: "help", Usage: "what a command does, and its flags", ArgsUsage: "[COMMAND]",
		Action: func(c *cli.Context) error {
			path, commands, text := "irkit", app.Commands, appHelp(app)
			for _, word := range c.Args().Slice() {
				found := command(commands, word)
				if found == nil {
					return usagef("irkit help lists the commands", fmt.Errorf("no command %q under %s", word, path))
				}
				path += " " + word
				commands, text = found.Subcommands, helpOf(path, found)
			}
			_, err := fmt.Fprint(d.stdout, text)
			return err
		},
	}
}
