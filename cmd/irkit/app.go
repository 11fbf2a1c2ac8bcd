package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

const description = `irkit contains a suspect pod, proves that it is contained, collects what fades,
and seals the evidence so that anybody can verify it without irkit.

   irkit contain web-0 -n prod          shows the plan, asks, and acts
   irkit plan web-0 -n prod             what it would write, field by field
   irkit status                         what is open, measured anew
   irkit watch web-0 -n prod            keep measuring, put back what others undo
   irkit verify BUNDLE                  whole, and by whom?
   irkit release web-0 -n prod --to-service`

// run carries out one command line and answers its exit status.
func (d *door) run(ctx context.Context, args []string) int {
	d.args = args
	app := d.app()
	err := app.RunContext(ctx, append([]string{"irkit"}, order(app, args)...))
	if err != nil {
		d.tell(err)
	}
	return statusOf(err)
}

func (d *door) app() *cli.App {
	app := &cli.App{
		Name:            "irkit",
		Usage:           "contain a suspect pod, prove it, and seal the evidence",
		Description:     description,
		Writer:          d.stdout,
		ErrWriter:       io.Discard, // every fault is told once, by tell
		HideVersion:     true,
		HideHelpCommand: true,                         // ours is among the commands
		ExitErrHandler:  func(*cli.Context, error) {}, // the library would call os.Exit and lose a seal
		OnUsageError:    usageFault,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("irkit help lists the commands", fmt.Errorf("no command %q", c.Args().First()))
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			d.plan(), d.contain(), d.collect(), d.runPlaybook(), d.release(), d.status(), d.watch(), d.revoke(),
			d.upload(), d.verify(), d.report(),
			d.doctor(), d.rbac(), d.agent(), d.versionCommand(),
		},
	}
	app.Flags = []cli.Flag{cli.HelpFlag} // the library adds it only where its own help command is
	app.Commands = append(app.Commands, d.help(app))
	app.CustomAppHelpTemplate = verbatim(appHelp(app))
	for _, c := range app.Commands {
		finish("irkit", c)
	}
	return app
}

// finish gives a command what all have: our help and usage errors instead of the library's,
// and flags whose few values are held to them.
func finish(under string, c *cli.Command) {
	path := under + " " + c.Name
	c.CustomHelpTemplate = verbatim(helpOf(path, c))
	c.OnUsageError = usageFault
	c.HideHelpCommand = true
	c.Before = oneOf
	for _, sub := range c.Subcommands {
		finish(path, sub)
	}
	if len(c.Subcommands) > 0 && c.Action == nil {
		c.Action = func(ctx *cli.Context) error {
			if ctx.Args().Present() {
				return usagef(path+" --help lists them", fmt.Errorf("no command %q under %s", ctx.Args().First(), c.Name))
			}
			return cli.ShowSubcommandHelp(ctx)
		}
	}
}

// oneOf refuses a value that a flag does not have. An unset flag has its default.
func oneOf(c *cli.Context) error {
	for flag, values := range map[string][]string{"output": {"text", "json", "yaml"}, "dry-run": {"none", "client", "server"}} {
		if v := c.String(flag); v != "" && !slices.Contains(values, v) {
			return usagef("irkit "+c.Command.Name+" --help lists the flags", fmt.Errorf("--%s %s: want %s", flag, v, either(values)))
		}
	}
	return nil
}

// either lists words for people: a, b or c.
func either(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func usageFault(c *cli.Context, err error, _ bool) error {
	text := strings.TrimPrefix(err.Error(), "flag provided but not defined: ")
	if text != err.Error() {
		err = fmt.Errorf("unknown flag %s", text)
	}
	name := "irkit"
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != "irkit" {
		name += " " + c.Command.Name
	}
	return usagef(name+" --help lists the flags", err)
}

// only is the one argument of a command; what names it in the error.
func only(c *cli.Context, what string) (string, error) {
	switch c.NArg() {
	case 1:
		return c.Args().First(), nil
	case 0:
		return "", usagef("irkit "+c.Command.Name+" --help", fmt.Errorf("no %s given", what))
	}
	return "", usagef("one "+what+" at a time: each is a case of its own",
		fmt.Errorf("%d arguments (%s), want one %s", c.NArg(), strings.Join(c.Args().Slice(), ", "), what))
}

// home is the folder that holds the cases.
func (d *door) home(c *cli.Context) (string, error) {
	if h := c.String("home"); h != "" {
		return filepath.Abs(h)
	}
	if h, ok := d.getenv("IRKIT_HOME"); ok && h != "" {
		return filepath.Abs(h)
	}
	state, err := d.folder("XDG_STATE_HOME", ".local/state")
	return filepath.Join(state, "irkit"), err
}

// keyPath is the signing key's file.
func (d *door) keyPath(c *cli.Context) (string, error) {
	if k := c.String("key"); k != "" {
		return filepath.Abs(k)
	}
	config, err := d.folder("XDG_CONFIG_HOME", ".config")
	return filepath.Join(config, "irkit", "id_ed25519"), err
}

func (d *door) folder(env, under string) (string, error) {
	if v, ok := d.getenv(env); ok && filepath.IsAbs(v) {
		return v, nil
	}
	home, ok := d.getenv("HOME")
	if !ok || home == "" {
		return "", errors.New("no HOME in the environment: give --home")
	}
	return filepath.Join(home, under), nil
}

// isFolder reports whether a path is a folder.
func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
