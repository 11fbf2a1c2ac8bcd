// Command irkit contains a suspect pod, proves that it is contained, collects what
// fades, and seals the evidence. See `irkit help`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// version and commit are set by the linker.
var (
	version = "devel"
	commit  = ""
)

func main() {
	// The first signal asks the session to stop and seal; the second ends at once,
	// and running again seals.
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	d := &door{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		getenv: os.LookupEnv, now: time.Now,
	}
	go func() {
		<-signals
		d.say("interrupted: sealing what is here; once more ends at once")
		stop()
		<-signals
		os.Exit(statusInterrupted)
	}()
	os.Exit(d.run(ctx, os.Args[1:]))
}
