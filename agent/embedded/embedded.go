// Package embedded holds the agent's static binaries inside irkit, so that a hand can
// be started where no image of irkit's own can be pulled.
package embedded

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/klauspost/compress/zstd"
)

// ErrAbsent says that this irkit was built before its agent was.
var ErrAbsent = errors.New("built without agent")

// Hint is what a person can do about ErrAbsent.
const Hint = "make agent, then build irkit again; or use --image with irkit's own image"

// maxBinary bounds what a packed binary may unpack to.
const maxBinary = 128 << 20

//go:embed all:agents
var agents embed.FS

// Arches are the architectures that the agent is built for, in Go's words.
func Arches() []string { return []string{"amd64", "arm64"} }

// Binary is the agent for an architecture, ready to run. It fails with ErrAbsent when
// it was not built in.
func Binary(arch string) ([]byte, error) { return binary(agents, arch, maxBinary) }

func binary(from fs.FS, arch string, limit int) ([]byte, error) {
	packed, err := fs.ReadFile(from, "agents/irkit-agent-"+arch+".zst")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("agent for %s: %w", arch, ErrAbsent)
	}
	if err != nil {
		return nil, fmt.Errorf("agent for %s: %w", arch, err)
	}
	d, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("unpack agent for %s: %w", arch, err)
	}
	defer d.Close()
	b, err := io.ReadAll(io.LimitReader(d, int64(limit)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("unpack agent for %s: %w", arch, err)
	case len(b) > limit:
		return nil, fmt.Errorf("unpack agent for %s: more than %d bytes", arch, limit)
	case !bytes.HasPrefix(b, []byte("\x7fELF")):
		return nil, fmt.Errorf("unpack agent for %s: no ELF program", arch)
	}
	return b, nil
}
