// Command tally reads the output of go test -json, prints what a person wants to see
// of it, and adds up what ran.
//
//	go test -json ./... | tally [-to FILE]
//
// It prints the closing line of each package, all that a failed test said, and
// lines that are no test events as they are. With -to the counts of this run are added to
// those in FILE, so that several runs close with one line. It exits 1 when a test
// failed or a package did not build, whatever the exit status of go test was.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

func main() {
	to := flag.String("to", "", "add the counts to those in this file")
	closing := flag.Bool("close", false, "read nothing; print what FILE of -to holds")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *to, *closing); err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
}

var errFailed = errors.New("something failed")

func run(in io.Reader, out io.Writer, to string, closing bool) error {
	var before counts
	if to != "" {
		var err error
		if before, err = load(to); err != nil {
			return err
		}
	}
	if closing {
		_, err := fmt.Fprintln(out, before)
		return err
	}
	now, err := read(in, out)
	if err != nil {
		return err
	}
	if to != "" {
		if err := save(to, before.plus(now)); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(out, now)
	}
	if now.Failed > 0 {
		return errFailed
	}
	return nil
}

// event is one line of go test -json (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string

	ImportPath string // of build-output and build-fail
}

func read(in io.Reader, out io.Writer) (counts, error) {
	var c counts
	said := map[string][]string{} // by package and test, until its end is known
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
				fmt.Fprint(out, line)
			} else {
				c.take(e, said, out)
			}
		}
		if errors.Is(err, io.EOF) {
			return c, nil
		}
		if err != nil {
			return c, fmt.Errorf("read test events: %w", err)
		}
	}
}

// counts are tests and subtests; a package that fails without one, because it does
// not build or because TestMain ends it, counts as one failure.
type counts struct{ Passed, Failed, Skipped int }

func (c *counts) take(e event, said map[string][]string, out io.Writer) {
	at := e.Package + "\x00" + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "output":
		if e.Test == "" && closes(e.Output) {
			fmt.Fprint(out, e.Output)
			return
		}
		said[at] = append(said[at], e.Output)
	case "pass", "fail", "skip":
		c.end(e, said, out)
		delete(said, at)
	}
}

func (c *counts) end(e event, said map[string][]string, out io.Writer) {
	if e.Test == "" {
		own := strings.Join(said[e.Package+"\x00"], "")
		if e.Action == "fail" && said["failed\x00"+e.Package] == nil {
			c.Failed++
			fmt.Fprint(out, own)
		}
		return
	}
	switch e.Action {
	case "pass":
		c.Passed++
	case "skip":
		c.Skipped++
		fmt.Fprintf(out, "skipped %s %s: %s\n", e.Package, e.Test, reason(said[e.Package+"\x00"+e.Test]))
	case "fail":
		c.Failed++
		said["failed\x00"+e.Package] = []string{e.Test}
		fmt.Fprint(out, strings.Join(said[e.Package+"\x00"+e.Test], ""))
	}
}

// closes reports the closing line of a package. The lines "PASS" and "coverage"
// are no news.
func closes(line string) bool {
	return strings.HasPrefix(line, "ok  \t") || strings.HasPrefix(line, "FAIL\t") || strings.HasPrefix(line, "?   \t")
}

// reason is what a skipped test gave as its reason.
func reason(said []string) string {
	var why []string
	for _, line := range said {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			why = append(why, line)
		}
	}
	if len(why) == 0 {
		return "no reason given"
	}
	return strings.Join(why, " ")
}

func (c counts) plus(o counts) counts {
	return counts{c.Passed + o.Passed, c.Failed + o.Failed, c.Skipped + o.Skipped}
}

// String is the closing line.
func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.Passed, c.Failed, c.Skipped)
}

func load(path string) (counts, error) {
	var c counts
	body, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(body, &c); err != nil {
		return c, fmt.Errorf("counts in %s: %w", path, err)
	}
	return c, nil
}

func save(path string, c counts) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(path, body, 0o600)
}
