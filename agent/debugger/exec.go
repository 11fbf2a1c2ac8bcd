package debugger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"

	"irkit.dev/irkit/agent"
)

// errNotThere says that the relay found no binary: it was not streamed yet.
var errNotThere = errors.New("the agent's binary is not in the container")

// line opens exec streams into one container and remembers by which transport.
type line struct {
	host Host
	seat seat

	mu     sync.Mutex
	use    Transport // what is tried next; Auto until it is known
	worked Transport
	failed bool // the try before did not work: look at the pod first
}

func newLine(h Host, s seat) *line { return &line{host: h, seat: s, use: h.Transport} }

// transport is the one that carried bytes last.
func (l *line) transport() Transport {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.worked
}

// dial starts the relay in the hand's container. It fails with agent.ErrGone when that
// container will not run again.
func (l *line) dial(ctx context.Context) (io.ReadWriteCloser, error) {
	l.mu.Lock()
	failed := l.failed
	l.failed = true // until bytes come
	l.mu.Unlock()
	if failed {
		if err := l.gone(ctx); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	in, feed := io.Pipe()
	c := &stream{cancel: cancel, feed: feed, spool: newSpool()}
	c.spool.first = func(t Transport) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.worked, l.failed = t, false
	}
	go func() {
		defer cancel()
		err := l.run(ctx, attachCommand(l.seat.command, public(l.seat.key)), in, c.spool)
		_ = in.CloseWithError(io.ErrClosedPipe)
		c.spool.end(err)
	}()
	return c, nil
}

// gone looks whether there is still a container to talk to.
func (l *line) gone(ctx context.Context) error {
	s := l.seat
	pod, err := l.host.Client.CoreV1().Pods(s.namespace).Get(ctx, s.pod, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: pod %s is gone", agent.ErrGone, s.pod)
	case err != nil:
		return nil //nolint:nilerr // what cannot be looked at may still be there
	}
	if _, err := s.look(pod, &StartError{}); err != nil {
		return fmt.Errorf("%w: %w", agent.ErrGone, err)
	}
	return nil
}

// run executes a command and returns when its streams have ended. That it returns nil
// proves nothing: what came has to say itself that it is whole.
func (l *line) run(ctx context.Context, command []string, in io.Reader, out *spool) error {
	l.mu.Lock()
	use := l.use
	l.mu.Unlock()
	var stderr tail
	exec := func(t Transport) error {
		e, err := l.executor(t, command)
		if err != nil {
			return err
		}
		out.via(t)
		// What client-go would log of a broken stream is told by the stream's own frames.
		return e.StreamWithContext(klog.NewContext(ctx, klog.Logger{}), remotecommand.StreamOptions{Stdin: in, Stdout: out, Stderr: &stderr})
	}
	var err error
	switch use {
	case SPDY, WS:
		err = exec(use)
	default:
		err = exec(WS)
		if httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) {
			l.mu.Lock()
			l.use = SPDY
			l.mu.Unlock()
			err = exec(SPDY)
		}
	}
	if own := out.failure(); own != nil {
		return own // client-go would not tell
	}
	if exit := (utilexec.CodeExitError{}); errors.As(err, &exit) && exit.Code == notThere {
		return fmt.Errorf("%w: %w", agent.ErrGone, errNotThere)
	}
	if s := stderr.String(); s != "" {
		err = errors.Join(err, fmt.Errorf("%q", s))
	}
	return err
}

func (l *line) executor(t Transport, command []string) (remotecommand.Executor, error) {
	url := l.host.Client.CoreV1().RESTClient().Post().Namespace(l.seat.namespace).Resource("pods").Name(l.seat.pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: l.seat.container, Command: command, Stdin: true, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec).URL()
	if t == SPDY {
		return remotecommand.NewSPDYExecutor(l.host.Config, "POST", url)
	}
	return remotecommand.NewWebSocketExecutor(l.host.Config, "GET", url.String()) // RFC 6455, section 4.1: a GET
}

// stream is one running relay.
type stream struct {
	cancel context.CancelFunc
	feed   *io.PipeWriter
	spool  *spool
}

func (s *stream) Read(p []byte) (int, error)  { return s.spool.Read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.feed.Write(p) }

// Close ends the relay's input and the stream, and whoever waits for either.
func (s *stream) Close() error {
	_ = s.feed.Close()
	s.cancel()
	s.spool.end(io.ErrClosedPipe)
	return nil
}

// tail keeps the first words of what a command complains about.
type tail struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Write(p[:min(len(p), max(0, 1024-t.b.Len()))])
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b.Bytes()))
}
