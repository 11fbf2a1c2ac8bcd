package debugger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/evidence"
)

// streamTries is how often a broken stream of the binary is begun anew.
const streamTries = 3

// stream brings the binary for the node's architecture into the hand's container,
// through h.Recorder (Op exec), and answers its digest. The binary becomes visible
// there only when it has found itself whole.
func (h Host) stream(ctx context.Context, l *line) (evidence.Digest, error) {
	arch, err := h.arch(ctx, l.seat.node)
	if err != nil {
		return evidence.Digest{}, err
	}
	binary, err := h.Binary(arch)
	if err != nil {
		return evidence.Digest{}, fmt.Errorf("stream agent for %s: %w", arch, err)
	}
	sum := evidence.Digest(sha256.Sum256(binary))
	after, err := json.Marshal(map[string]any{"container": l.seat.container, "sha256": sum, "size": len(binary), "arch": arch})
	if err != nil {
		return sum, fmt.Errorf("describe binary: %w", err)
	}
	change := evidence.Change{
		ID: "hand/exec/pod/" + l.seat.namespace + "/" + l.seat.pod + "/" + l.seat.podUID + "/" + l.seat.container, Layer: "hand", Op: evidence.OpExec,
		Object: evidence.Object{APIVersion: "v1", Kind: "Pod", Namespace: l.seat.namespace, Name: l.seat.pod, UID: l.seat.podUID},
		After:  after,
		Why:    "bring irkit's binary into its own debug container",
		Irreversible: "the binary stays in the file system of container " + l.seat.container +
			" until the pod is deleted",
	}
	if !l.seat.ephemeral {
		change.Irreversible = ""
	}
	h.Progress(fmt.Sprintf("stream the agent for %s into %s (%d bytes)", arch, l.seat.container, len(binary)))
	_, err = h.Recorder.Do(ctx, change, func(ctx context.Context) (json.RawMessage, error) {
		return after, l.bring(ctx, binary, sum)
	})
	return sum, err
}

// arch is the node's architecture in Go's words, as its kubelet reports it.
func (h Host) arch(ctx context.Context, node string) (string, error) {
	n, err := h.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("learn architecture of node %s: %w", node, err)
	}
	return n.Status.NodeInfo.Architecture, nil
}

func (l *line) bring(ctx context.Context, binary []byte, sum evidence.Digest) error {
	var errs []error
	for try := range streamTries {
		out := newSpool()
		out.limit = 4096
		command := []string{"sh", "-c", streamScript, "irkit-agent", sum.Hex(), strconv.Itoa(try)}
		err := l.run(ctx, command, bytes.NewReader(binary), out)
		out.end(io.EOF)
		said, _ := io.ReadAll(io.LimitReader(out, 4096))
		// The script's own words are the proof: exec ends without an error also when the
		// stream broke.
		if strings.Contains(string(said), sum.Hex()) || strings.HasPrefix(string(said), "there") {
			return nil
		}
		errs = append(errs, fmt.Errorf("try %d: it answered %q: %w", try+1, said, errors.Join(err, io.ErrUnexpectedEOF)))
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("stream agent into %s: %w", l.seat.container, errors.Join(errs...))
}
