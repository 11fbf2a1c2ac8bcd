//go:build e2e

package e2e

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"irkit.dev/irkit/evidence"
)

// beside are the kinds that every regular container gives.
var beside = []string{"processes", "connections", "environment", "open-files", "mounts", "recovered-index", "persistence", "filesystem", "filesystem-index"}

// TestTwoContainers: both containers are collected, also the one without a shell; by
// our own image and streamed into another, over both transports.
func TestTwoContainers(t *testing.T) {
	reset(t)
	for _, how := range []struct {
		name, transport string
		hand            []string
	}{
		{"own image over WebSocket", "ws", []string{"--image", image}},
		{"streamed over SPDY", "spdy", []string{"--debug-image", debug}},
	} {
		t.Run(how.name, func(t *testing.T) {
			p := newPerson(t)
			args := append([]string{"collect", "duo", "-n", "prod", "--pull", "Never", "--yes", "-o", "json", "--transport", how.transport, "--case", "duo-" + how.transport}, how.hand...)
			r := p.irkit(args...).want(t, 0).result(t)
			checkBeside(t, r.Bundle, "c0", "first")
			checkBeside(t, r.Bundle, "c1", "second")
			checkTransport(t, r.Bundle, how.transport)
			if err := verifyStock(t, r.Bundle); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPlain contains one static binary that runs as nobody in particular.
func TestPlain(t *testing.T) {
	reset(t)
	p := newPerson(t)
	r := p.runQuick("plain", "prod", "--canary", "10.200.0.1:9999").want(t, 0).result(t)
	checkBeside(t, r.Bundle, "c0", "plain")
	if err := verifyStock(t, r.Bundle); err != nil {
		t.Error(err)
	}
	p.release("plain", "prod", "--to-service").want(t, 0)
	checkNothingOfOurs(t, "prod")
}

func checkBeside(t *testing.T, bundle, ordinal, container string) {
	t.Helper()
	all := entries(t, bundle)
	for _, kind := range beside {
		e := find(t, all, kind, ordinal)
		if e.Container != container || e.Status != evidence.Collected && e.Status != evidence.Changed {
			t.Errorf("%s of %s (%s): %s: %s", kind, ordinal, e.Container, e.Status, e.Reason)
		}
	}
}

func checkTransport(t *testing.T, bundle, want string) {
	t.Helper()
	var m evidence.Meta
	if err := json.Unmarshal(mustRead(t, filepath.Join(bundle, filepath.FromSlash(evidence.EvidenceJSON))), &m); err != nil {
		t.Fatal(err)
	}
	if m.Method.Transport != want {
		t.Errorf("the bundle says transport %q, want %q", m.Method.Transport, want)
	}
}
