package playbooks

import (
	"context"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/nodepod"
	"irkit.dev/irkit/evidence"
)

// Hand is a hand where it sits: beside the target, or in the probe pod.
type Hand interface {
	agent.Hand
	Info() debugger.Info
	Transport() debugger.Transport
}

// Starter starts footholds. Each start is a write that it makes known to the Recorder
// which it was made with; one that stands already is taken over.
type Starter interface {
	// Beside starts a hand beside a container of the target, which can read all of it.
	Beside(ctx context.Context, container string) (Hand, error)
	// Weaker starts one beside it with the first of these profiles that is admitted; refused
	// is what was tried before.
	Weaker(ctx context.Context, container string, profiles []debugger.Profile, refused []debugger.Refusal) (Hand, error)
	// Standing attaches to the hand that an earlier run left there, and writes nothing; nil
	// when there is none.
	Standing(ctx context.Context, container string) (Hand, error)
	// Probe starts the hand outside of the target.
	Probe(ctx context.Context) (Hand, error)
	// EndProbe takes away what Probe made, and is harmless when there is nothing.
	EndProbe(ctx context.Context) error
	// Node starts a hand on the target's node, which can do what one beside each container
	// can, and takes over one that an earlier run left; refused is why there is none beside.
	Node(ctx context.Context, refused []debugger.Refusal) (Hand, error)
	// EndNode takes away what Node made, and is harmless when there is nothing.
	EndNode(ctx context.Context) error
}

// debugging starts hands in ephemeral containers, a probe pod, and a node pod.
type debugging struct {
	host   debugger.Host
	target evidence.Target
}

// Debugging is the Starter of every engine that names no other.
func Debugging(host debugger.Host, target evidence.Target) Starter { return debugging{host, target} }

func (d debugging) options(container string) debugger.Options {
	return debugger.Options{Host: d.host, Target: d.target, Container: container}
}

func (d debugging) Standing(ctx context.Context, container string) (Hand, error) {
	choice, err := debugger.Choose(ctx, d.options(container))
	if err != nil || !choice.Standing {
		return nil, err
	}
	return d.Beside(ctx, container)
}

func (d debugging) Beside(ctx context.Context, container string) (Hand, error) {
	h, err := debugger.Start(ctx, d.options(container))
	if err != nil {
		return nil, err // and not a nil hand in an interface
	}
	return h, nil
}

func (d debugging) Weaker(ctx context.Context, container string, profiles []debugger.Profile, refused []debugger.Refusal) (Hand, error) {
	o := d.options(container)
	o.Profiles, o.Refused = profiles, refused
	h, err := debugger.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (d debugging) Probe(ctx context.Context) (Hand, error) {
	h, err := debugger.StartProbePod(ctx, debugger.ProbeOptions{Host: d.host})
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (d debugging) EndProbe(ctx context.Context) error {
	return debugger.DeleteProbePod(ctx, debugger.ProbeOptions{Host: d.host})
}

func (d debugging) Node(ctx context.Context, refused []debugger.Refusal) (Hand, error) {
	h, err := nodepod.Start(ctx, nodepod.Options{Host: d.host, Target: d.target, Refused: refused})
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (d debugging) EndNode(ctx context.Context) error {
	return nodepod.Delete(ctx, nodepod.Options{Host: d.host, Target: d.target})
}

// hands are the footholds of one run. Nothing is started.
func (e *Engine) hands(o Order, key Key, recorder evidence.Recorder) *Hands {
	return NewHands(e.starter(o, key, recorder), o.Pod)
}

func (e *Engine) starter(o Order, key Key, recorder evidence.Recorder) Starter {
	start := e.Starter
	if start == nil {
		start = Debugging
	}
	return start(e.host(o, key, recorder), o.Target)
}
