package bag_test

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"irkit.dev/irkit/evidence/bag"
)

// TestStreamTag: a tag file that is too long for memory is there whole, or not at all.
func TestStreamTag(t *testing.T) {
	w := create(t, bag.Options{}).w
	const name = "timeline/body.txt"
	long := func(to io.Writer) error {
		for range 3 {
			if _, err := io.WriteString(to, "line\n"); err != nil {
				return err
			}
		}
		return nil
	}
	if err := w.StreamTag(name, long); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("source broke")
	err := w.StreamTag(name, func(to io.Writer) error { return errors.Join(long(to), broken) })
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if b, err := w.Root().ReadFile(name); err != nil || string(b) != strings.Repeat("line\n", 3) {
		t.Errorf("%q, %v: not what was whole before", b, err)
	}
	if err := w.StreamTag("timeline/other.txt", func(io.Writer) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if _, err := w.Root().Stat("timeline/other.txt"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that was not whole is there: %v", err)
	}
	if err := w.StreamTag("data/x", long); err == nil {
		t.Error("the payload was written as a tag")
	}
}
