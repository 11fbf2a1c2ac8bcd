package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/frame"
)

// TestKnowsNoKubernetes holds the wall: the agent stays small, and a door without
// credentials for any API.
func TestKnowsNoKubernetes(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("go list cannot be run here: %v", err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 50 {
		t.Fatalf("only %d packages listed", len(deps))
	}
	for _, d := range deps {
		for _, wall := range []string{"k8s.io/", "sigs.k8s.io/", "github.com/urfave/cli", "github.com/minio/", "irkit.dev/irkit/cluster", "irkit.dev/irkit/agent/debugger"} {
			if strings.HasPrefix(d, wall) {
				t.Errorf("the agent links %s", d)
			}
		}
	}
}

// built is the agent as it is shipped: static.
func built(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "irkit-agent")
	c := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid= -X main.version=v-test", "-o", path, ".")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Skipf("agent cannot be built here: %v: %s", err, out)
	}
	return path
}

func TestProgram(t *testing.T) {
	path := built(t)
	out, err := exec.CommandContext(t.Context(), path, "version").Output()
	f := strings.Fields(string(out))
	if err != nil || len(f) != 3 || f[1] != "v-test" || !strings.HasPrefix(f[2], "sha256:") {
		t.Fatalf("version: %q, %v", out, err)
	}
	sum := strings.TrimPrefix(f[2], "sha256:")
	if out, err := exec.CommandContext(t.Context(), path, "version", "--expect", sum).CombinedOutput(); err != nil {
		t.Errorf("its own digest: %s, %v", out, err)
	}
	// Cut short by a broken stream, it does not pass for whole.
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1000, len(b) / 2, len(b) - 1} {
		short := path + ".part"
		if err := os.WriteFile(short, b[:n], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := exec.CommandContext(t.Context(), short, "version", "--expect", sum).Run(); err == nil {
			t.Errorf("%d of %d bytes passed for whole", n, len(b))
		}
	}
	for _, bad := range [][]string{{}, {"help"}, {"work"}, {"work", "--key", "zz"}, {"attach"}, {"attach", "x"}, {"version", "--expect", "00"}, {"work", "--key", strings.Repeat("0", 64), "--max-life", "-1s"}} {
		out, err := exec.CommandContext(t.Context(), path, bad...).CombinedOutput()
		if err == nil || !bytes.HasPrefix(out, []byte("irkit-agent: ")) || bytes.Count(out, []byte("\n")) != 1 {
			t.Errorf("%v: %q, %v; want one line of error", bad, out, err)
		}
	}
}

// TestWorkAndAttach runs the two processes as a pod would: a worker without a target, and
// relays that are killed.
func TestWorkAndAttach(t *testing.T) {
	path := built(t)
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	worker := exec.CommandContext(t.Context(), path, "work", "--key", hex.EncodeToString(pub), "--no-target", "--max-life", "2m")
	var log bytes.Buffer
	worker.Stdout, worker.Stderr = &log, &log
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- worker.Wait() }()
	defer func() { _ = worker.Process.Kill() }()
	p := &processes{path: path, key: hex.EncodeToString(pub)}
	h, err := frame.Connect(t.Context(), p.dial(t), key, frame.ClientOptions{Backoff: time.Millisecond})
	if err != nil {
		t.Fatalf("%v: %s", err, log.String())
	}
	for range 3 {
		id, err := h.Describe(t.Context())
		if err != nil || id.Version != "v-test" || id.PID != worker.Process.Pid || id.Memory["VmHWM"] > 64<<20 {
			t.Errorf("identity: %+v, %v", id, err)
		}
		_ = p.last.Process.Kill()
	}
	err = h.Collect(t.Context(), agent.Request{Kind: "processes"}, nil)
	if remote := (*frame.RemoteError)(nil); !errors.As(err, &remote) {
		t.Errorf("collect without a target: %v", err)
	}
	if err := h.Close(t.Context(), true); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("worker: %v: %s", err, log.String())
	}
}

type processes struct {
	path, key string
	last      *exec.Cmd
}

type process struct {
	io.Reader
	io.WriteCloser
	c *exec.Cmd
}

func (p process) Close() error {
	_ = p.WriteCloser.Close()
	_ = p.c.Process.Kill()
	return nil
}

func (p *processes) dial(t *testing.T) frame.Dialer {
	ctx := t.Context()
	return func(context.Context) (io.ReadWriteCloser, error) {
		c := exec.CommandContext(ctx, p.path, "attach", "--key", p.key)
		in, err := c.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := c.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := c.Start(); err != nil {
			return nil, err
		}
		p.last = c
		return process{out, in, c}, nil
	}
}
