// irkit-agent is irkit's process beside a target: `work` is the container's main
// process, `attach` the relay that exec starts. It is static, and knows no Kubernetes.
package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"irkit.dev/irkit/agent/worker"
	"irkit.dev/irkit/collectors/inside"
	"irkit.dev/irkit/evidence"
)

// version is set by the linker: see agent/agent.mk.
var version = "unversioned"

// memory is what the collector of garbage works towards; the whole process stays
// under 64 MiB, since it lives in the target's control group.
const memory = 44 << 20

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "irkit-agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("want one of: work, attach, version")
	}
	switch args[0] {
	case "work":
		return work(ctx, args[1:], out)
	case "attach":
		return attach(ctx, args[1:], in, out)
	case "version":
		return tell(args[1:], out)
	}
	return fmt.Errorf("verb %q: want one of: work, attach, version", args[0])
}

func parse(f *flag.FlagSet, args []string) error {
	f.SetOutput(io.Discard)
	if err := f.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%s: argument %q is not understood", f.Name(), f.Arg(0))
	}
	return nil
}

// keyFlag is the public half of the key of the irkit that may attach: no secret.
func keyFlag(f *flag.FlagSet) *ed25519.PublicKey {
	var key ed25519.PublicKey
	f.Func("key", "Ed25519 public key of the irkit that may attach, in hex", func(s string) error {
		b, err := hex.DecodeString(s)
		if err != nil || len(b) != ed25519.PublicKeySize {
			return fmt.Errorf("want %d hex digits", 2*ed25519.PublicKeySize)
		}
		key = b
		return nil
	})
	return &key
}

func work(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("work", flag.ContinueOnError)
	key := keyFlag(f)
	container := f.String("container-id", "", "the target container's ID, without its scheme")
	shared := f.Bool("shared-pids", false, "the pod's containers share one PID namespace")
	alone := f.Bool("no-target", false, "there is no target: probes only")
	hostPIDs := f.Bool("host-pids", false, "the pod is in the node's PID namespace")
	network := f.Bool("network-only", false, "no target's processes are seen: only the pod's network")
	life := f.Duration("max-life", 24*time.Hour, "how long the worker lives")
	where := nodeFlags(f)
	if err := parse(f, args); err != nil {
		return err
	}
	if *key == nil || *life <= 0 {
		return errors.New("work: a key and a life above zero are needed")
	}
	if where.on && where.listener == 0 {
		return where.enter(ctx, *key, *container, args, out)
	}
	debug.SetMemoryLimit(memory)
	debug.SetGCPercent(50)
	self, err := worker.Look() // before the process is closed to itself
	if err != nil {
		return err
	}
	if err := worker.Harden(); err != nil {
		return err
	}
	o := worker.Options{
		Key: *key, MaxLife: *life, Version: version, Self: self,
		Log: func(s string) { fmt.Fprintln(out, "irkit-agent:", s) },
	}
	if where.on {
		if err := where.entered(&o, *container); err != nil {
			return err
		}
		return worker.Run(ctx, o)
	}
	switch {
	case *network:
		o.Reader = newNetworkOnly()
	case !*alone:
		o.TargetPID, o.NoTarget = worker.Target("/proc", *container, *shared)
	}
	if o.TargetPID != 0 {
		trust := evidence.TrustDebugger
		if near, err := worker.Reaches("/proc", o.TargetPID); near || err != nil {
			trust = evidence.TrustDebuggerSame
		}
		o.Reader = reading{inside.New(inside.Options{TargetPID: o.TargetPID, ContainerID: *container, NodePIDs: *hostPIDs, Trust: trust})}
	}
	o.Cutter = newKeeping(cutting{target: o.TargetPID})
	return worker.Run(ctx, o)
}

func attach(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	f := flag.NewFlagSet("attach", flag.ContinueOnError)
	key := keyFlag(f)
	if err := parse(f, args); err != nil {
		return err
	}
	if *key == nil {
		return errors.New("attach: a key is needed")
	}
	return worker.Relay(ctx, *key, in, out)
}

// tell prints version and digest; with --expect it fails when this is another file,
// or not the whole one.
func tell(args []string, out io.Writer) error {
	f := flag.NewFlagSet("version", flag.ContinueOnError)
	expect := f.String("expect", "", "SHA-256 that this program must have, in hex")
	if err := parse(f, args); err != nil {
		return err
	}
	self, err := worker.Look()
	if err != nil {
		return err
	}
	if *expect != "" && *expect != self.SHA256.Hex() {
		return fmt.Errorf("this program is %s, expected was sha256:%s", self.SHA256, *expect)
	}
	_, err = fmt.Fprintf(out, "irkit-agent %s %s\n", version, self.SHA256)
	return err
}
