package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// How irkit speaks. stdout is data: what a script captures, or JSON with -o json.
// Everything else goes to stderr behind "irkit: ", in small letters, with no full
// stop, and "irkit: hint: " where a person can act. Nothing that comes from the
// target reaches a terminal unquoted.

// door is what the command line has of the world.
type door struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) (string, bool)
	now    func() time.Time
	args   []string // as given, for hints that say a command again
}

func (d *door) say(format string, args ...any) { d.line("", format, args...) }

func (d *door) warn(format string, args ...any) { d.line("warning: ", format, args...) }

func (d *door) hint(format string, args ...any) { d.line("hint: ", format, args...) }

// line prints one line; control characters in what is told are shown, not sent.
func (d *door) line(head, format string, args ...any) {
	text := strings.Map(visible, fmt.Sprintf(format, args...))
	for one := range strings.Lines(text) {
		fmt.Fprintf(d.stderr, "irkit: %s%s\n", head, strings.TrimSuffix(one, "\n"))
	}
}

func visible(r rune) rune {
	switch {
	case r == '\n', r == '\t':
		return r
	case r < ' ', r >= 0x7f && r < 0xa0, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return '\uFFFD'
	}
	return r
}

// terminal reports whether a stream is one, and how wide it is (80 when unknown).
func terminal(stream any) (int, bool) {
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 80, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 40 {
		width = 80
	}
	return width, true
}

// screen is the size of the terminal that stream is; false: it is none.
func screen(stream any) (width, height int, ok bool) {
	if width, ok = terminal(stream); !ok {
		return 0, 0, false
	}
	_, height, err := term.GetSize(int(stream.(*os.File).Fd()))
	if err != nil || height < 5 {
		height = 24
	}
	return width, height, true
}

// hinted is an error with words on what a person can do.
type hinted struct {
	error
	hints []string
}

func (h hinted) Unwrap() error { return h.error }

func withHint(err error, hints ...string) error {
	if err == nil {
		return nil
	}
	return hinted{err, hints}
}

// tell prints an error and the hints that it and its causes carry.
func (d *door) tell(err error) {
	d.line("error: ", "%v", err)
	var h hinted
	for e := err; errors.As(e, &h); e = h.error {
		for _, hint := range h.hints {
			d.hint("%s", hint)
		}
	}
	var other interface{ Hint() string }
	if errors.As(err, &other) && other.Hint() != "" {
		d.hint("%s", other.Hint())
	}
}
