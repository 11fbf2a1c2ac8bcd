package playbooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// gatePatience is how long writes wait for the mark. An isolation does not hang on one
// slow answer: after it they are made without.
const gatePatience = 2 * time.Second

// Gate holds a session's writes back until its mark is on the target. The mark is the lock
// between two irkits (quarantine.NewLabel), and so who comes second writes nothing at
// all: no policy, no cut, and no container that nobody can take out again. It stands
// open but while a mark is being made. Safe for concurrent use.
type Gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil: open
	err  error
}

// Shut holds back who comes from now on, until Open.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.err = make(chan struct{}), nil
}

// Open lets all pass. When err says that another case holds the target
// (quarantine.ErrForeign) all are refused with it; whatever else kept the mark off keeps
// nothing else from being made.
func (g *Gate) Open(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if errors.Is(err, quarantine.ErrForeign) {
		g.err = err
	}
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

// Pass waits while the gate is shut, at most two seconds, and says why nobody may pass.
func (g *Gate) Pass(ctx context.Context) error {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		late := time.NewTimer(gatePatience)
		defer late.Stop()
		select {
		case <-shut:
		case <-late.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return g.Refused()
}

// Refused is why nobody may pass; nil where everybody may.
func (g *Gate) Refused() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		return nil
	}
	return fmt.Errorf("not tried: %w", g.err)
}

// behind is a recorder whose writes pass the gate first; what is refused is not so much
// as intended.
func (g *Gate) behind(r evidence.Recorder) evidence.Recorder { return gated{r, g} }

type gated struct {
	evidence.Recorder
	gate *Gate
}

// Do implements evidence.Recorder.
func (g gated) Do(ctx context.Context, c evidence.Change, act func(context.Context) (json.RawMessage, error)) (json.RawMessage, error) {
	if err := g.gate.Pass(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Why, err)
	}
	return g.Recorder.Do(ctx, c, act)
}
