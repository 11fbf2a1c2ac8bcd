package cluster

import (
	"context"
	"os"
	"time"

	"irkit.dev/irkit/lab/apply"
	"irkit.dev/irkit/lab/daemons"
	"irkit.dev/irkit/lab/node"
	"irkit.dev/irkit/lab/parts"
)

// RestartAPIServer ends the API server of a lab that is up, with SIGTERM and three
// seconds later with SIGKILL, starts it again after a pause, and returns when it serves.
// The scheduler is started anew with it: one that does not hear whether its last binding
// was made ends by itself minutes later, and nobody here would start it again. Everything
// else goes on.
func (l Lab) RestartAPIServer(ctx context.Context, pause time.Duration) error {
	release, err := l.alone()
	if err != nil {
		return err
	}
	defer release()
	cluster, err := l.Connect()
	if err != nil {
		return err
	}
	set, err := parts.Locate(l.Layout, parts.Needed(l.CNI()))
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	setup := daemons.Setup{Layout: l.Layout, Parts: set, CNI: l.CNI(), Self: self}
	if err := l.stopIfRuns(ctx, setup.APIServer()); err != nil {
		return err
	}
	l.say("the API server is down")
	select {
	case <-ctx.Done(): // an interrupted restart leaves the lab whole
		ctx = context.WithoutCancel(ctx)
	case <-time.After(pause):
	}
	ctx, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	if err := l.run(ctx, setup.APIServer()); err != nil {
		return err
	}
	// Not l.until: a daemon that ended while there was no API server is no reason to leave
	// the lab without one.
	if err := apply.Until(ctx, "the API server", cluster.Serves); err != nil {
		return err
	}
	if err := l.stopIfRuns(ctx, setup.Scheduler()); err != nil {
		return err
	}
	if err := l.run(ctx, setup.Scheduler()); err != nil {
		return err
	}
	l.say("API server ready")
	return nil
}

// stopIfRuns ends a daemon; one that ended before, by a restart that failed, is no error.
func (l Lab) stopIfRuns(ctx context.Context, d node.Daemon) error {
	processes, err := l.node().List(ctx)
	if err != nil {
		return err
	}
	for _, p := range processes {
		if p.Name == d.Name && !p.Ended {
			return l.node().Stop(ctx, d.Name)
		}
	}
	return nil
}
