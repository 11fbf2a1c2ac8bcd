// Command licences reads the licence of every module that a program links, from
// the texts in the module cache, and fails where one is unknown or not allowed.
//
//	licences [-C DIR] PACKAGE...
//
// What is linked differs from system to system, so it looks at all that irkit is
// released for. A module is judged by every licence text that stands between a
// linked package and the module's root: a single copied folder can bring another one.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
)

func main() {
	dir := flag.String("C", ".", "the checkout whose packages are meant")
	table := flag.Bool("table", false, "print every module with its licences")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: licences [-C DIR] [-table] PACKAGE...")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, *dir, *table, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, dir string, table bool, packages []string) error {
	linked, err := links(ctx, dir, packages)
	if err != nil {
		return err
	}
	reader, err := newReader()
	if err != nil {
		return err
	}
	var faults []string
	held := map[string][]string{}
	for _, m := range linked {
		names, err := reader.module(m)
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		if table {
			fmt.Fprintf(out, "%s %s\t%s\n", m.Path, m.Version, strings.Join(names, ", "))
		}
		for _, name := range names {
			held[name] = append(held[name], m.Path)
			if !slices.Contains(allowed(), name) {
				faults = append(faults, fmt.Sprintf("%s %s: %s is not allowed", m.Path, m.Version, name))
			}
		}
	}
	summarise(out, len(linked), held)
	if len(faults) > 0 {
		return fmt.Errorf("%d faults\n%s", len(faults), strings.Join(faults, "\n"))
	}
	return nil
}

// summarise names the modules whose licence asks for more than a notice.
func summarise(out io.Writer, modules int, held map[string][]string) {
	fmt.Fprintf(out, "%d modules linked:", modules)
	for _, name := range allowed() {
		if n := len(held[name]); n > 0 {
			fmt.Fprintf(out, " %s %d", name, n)
		}
	}
	fmt.Fprintln(out)
	for _, path := range held["MPL-2.0"] {
		fmt.Fprintf(out, "MPL-2.0, so its source is to be offered: %s\n", path)
	}
}
