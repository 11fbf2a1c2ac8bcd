//go:build linux

package worker

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/agent/frame"
)

// The test's own binary, copied, is the stranger: same user, another file.
func TestMain(m *testing.M) {
	role, key := os.Getenv("IRKIT_TEST_STRANGER"), os.Getenv("IRKIT_TEST_KEY")
	if role == "" {
		os.Exit(m.Run())
	}
	b, _ := hex.DecodeString(key)
	addr := socketName(ed25519.PublicKey(b))
	switch role {
	case "squat":
		l, err := net.ListenUnix("unix", addr)
		if err != nil {
			os.Exit(3)
		}
		fmt.Println("ready")
		for {
			c, err := l.Accept()
			if err != nil {
				os.Exit(0)
			}
			got, _ := io.ReadAll(c)
			fmt.Printf("got %d\n", len(got))
		}
	case "knock":
		c, err := net.DialUnix("unix", nil, addr)
		if err != nil {
			os.Exit(3)
		}
		got, _ := io.ReadAll(c)
		fmt.Printf("got %d\n", len(got))
	}
	os.Exit(0)
}

func stranger(t *testing.T, role string, key ed25519.PublicKey) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "stranger")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), path)
	c.Env = append(os.Environ(), "IRKIT_TEST_STRANGER="+role, "IRKIT_TEST_KEY="+hex.EncodeToString(key))
	return c
}

// TestRelayRefusesASquatter: who took the worker's socket before the worker is told
// nothing.
func TestRelayRefusesASquatter(t *testing.T) {
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := stranger(t, "squat", pub)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Process.Kill(); _ = c.Wait() }()
	buf := make([]byte, 64)
	if n, err := out.Read(buf); err != nil || string(buf[:n]) != "ready\n" {
		t.Fatalf("squatter: %q, %v", buf[:n], err)
	}
	if err := Relay(t.Context(), pub, strings.NewReader("secret"), io.Discard); !errors.Is(err, errStranger) {
		t.Errorf("relay: %v, want %v", err, errStranger)
	}
	if n, err := out.Read(buf); err != nil || string(buf[:n]) != "got 0\n" {
		t.Errorf("squatter was told: %q, %v", buf[:n], err)
	}
	if err := Run(t.Context(), Options{Key: pub, Cutter: &target{}}); err == nil {
		t.Error("worker started although its socket was taken")
	}
}

func TestWorkerRefusesAnotherProgram(t *testing.T) {
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 10)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() {
		ran <- Run(ctx, Options{Key: pub, Cutter: &target{}, Log: func(s string) { said <- s }})
	}()
	defer func() { stop(); <-ran }()
	<-said // it listens
	out, err := stranger(t, "knock", pub).Output()
	if err != nil || string(out) != "got 0\n" {
		t.Errorf("stranger: %q, %v", out, err)
	}
	if s := <-said; !strings.Contains(s, errStranger.Error()) {
		t.Errorf("worker said %q", s)
	}
}

// TestSilentPeersAreFewAndShort: peers that prove nothing do not keep irkit out.
func TestSilentPeersAreFewAndShort(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen(pub)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() {
		o := Options{Key: pub, Cutter: &target{}, Server: frame.ServerOptions{Handshake: 200 * time.Millisecond}}
		ran <- serve(ctx, o, l, checkPeer)
	}()
	defer func() { stop(); <-ran }()
	for range 3 * strangers {
		c, err := net.DialUnix("unix", nil, socketName(pub))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	dial := func(context.Context) (io.ReadWriteCloser, error) { return net.DialUnix("unix", nil, socketName(pub)) }
	h, err := frame.Connect(t.Context(), dial, key, frame.ClientOptions{Backoff: 20 * time.Millisecond, Grace: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Describe(t.Context()); err != nil {
		t.Error(err)
	}
	_ = h.Close(t.Context(), false)
}

func TestRelayEndsWithItsInput(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	go func() { _, _ = io.Copy(io.Discard, b) }()
	if err := relay(a, strings.NewReader("x"), io.Discard); err != nil {
		t.Errorf("relay: %v", err)
	}
}
