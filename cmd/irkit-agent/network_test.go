package main

import (
	"io"
	"runtime"
	"testing"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors/inside"
	"irkit.dev/irkit/evidence"
)

// A hand without a target gives the network's tables, and says of each other kind that it
// could not be had: nothing of its own processes passes for the target's.
func TestAHandThatSeesTheNetworkAlone(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	r := newNetworkOnly()
	if _, _, err := r.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, kind := range inside.Kinds() {
		came, absent := 0, 0
		err := r.Collect(t.Context(), agent.Request{Kind: kind, ContainerID: "ab"}, func(h agent.Header, body io.Reader) error {
			came++
			if h.Absent != nil {
				absent++
				if h.Absent.Status != evidence.Impossible || h.Absent.Reason == "" || h.Kind != kind {
					t.Errorf("%s: %+v", kind, h)
				}
				return nil
			}
			_, err := io.Copy(io.Discard, body)
			return err
		})
		if want := kind != "connections"; err != nil || came == 0 || (absent > 0) != want {
			t.Errorf("%s: %d artifacts, %d absent, %v", kind, came, absent, err)
		}
	}
}
