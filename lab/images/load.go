package images

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"irkit.dev/irkit/lab/parts"
	"irkit.dev/irkit/lab/place"
)

// Containerd reaches the lab's containerd.
type Containerd struct {
	Socket string
	Parts  parts.Set
}

// Load imports a Docker or OCI archive under the names that it carries, and
// answers those names.
func (c Containerd) Load(ctx context.Context, archive string) ([]string, error) {
	said, err := c.ctr(ctx, "images", "import", archive)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(said) {
		// ctr shows a dash that stands in the last element of a name as a space.
		name, saved := strings.CutSuffix(strings.TrimSpace(line), "saved")
		name = strings.ReplaceAll(strings.TrimSpace(name), " ", "-")
		if saved && name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// Answers says whether containerd serves yet: its socket's file proves nothing.
func (c Containerd) Answers(ctx context.Context) error {
	_, err := c.ctr(ctx, "version")
	return err
}

func (c Containerd) ctr(ctx context.Context, arguments ...string) (string, error) {
	arguments = append([]string{"--address", c.Socket, "--namespace", place.ImageNamespace}, arguments...)
	output, err := exec.CommandContext(ctx, c.Parts.Binary("containerd", "ctr"), arguments...).CombinedOutput()
	text := strings.TrimSpace(string(output))
	if err != nil {
		return "", fmt.Errorf("containerd: %w: %s", err, text)
	}
	return text, nil
}
