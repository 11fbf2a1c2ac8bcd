//go:build linux

package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"irkit.dev/irkit/agent"
)

// TestReceiverEnds: whatever the receiver does in the middle, Collect comes back, and
// with the receiver's own reason.
func TestReceiverEnds(t *testing.T) {
	root := t.TempDir()
	for i := range 400 {
		write(t, fmt.Sprintf("%s/f%d", root, i), strings.Repeat("x", 8<<10))
	}
	pid := inRoot(t, root)
	full := errors.New("no space left on device")
	for name, c := range map[string]struct {
		emit func(cancel func()) Emit
		want error
	}{
		"error before the first byte": {func(func()) Emit { return func(agent.Header, io.Reader) error { return full } }, full},
		"error in the middle": {func(func()) Emit {
			return func(_ agent.Header, r io.Reader) error {
				_, err := io.CopyN(io.Discard, r, 100<<10)
				return errors.Join(err, full)
			}
		}, full},
		"context ends in the middle": {func(cancel func()) Emit {
			return func(_ agent.Header, r io.Reader) error {
				if _, err := io.CopyN(io.Discard, r, 100<<10); err != nil {
					return err
				}
				cancel()
				_, err := io.Copy(io.Discard, r)
				if err == nil {
					return errors.New("a tar that was cut short ended as if it were whole")
				}
				return err
			}
		}, context.Canceled},
		"not read at all": {func(func()) Emit { return func(agent.Header, io.Reader) error { return nil } }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := New(Options{TargetPID: pid}).Collect(ctx, agent.Request{Kind: "filesystem"}, c.emit(cancel))
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, kind := range Kinds() {
		all, err := collectContext(ctx, New(Options{TargetPID: os.Getpid()}), agent.Request{Kind: kind})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s after the context ended: %v", kind, err)
		}
		for _, g := range all {
			if g.err == nil && g.Absent == nil {
				t.Errorf("%s: whole after the context ended", kind)
			}
		}
	}
}
