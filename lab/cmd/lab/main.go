// Command lab is irkit's laboratory: a real Kubernetes of one node, in
// namespaces of its own, with a workload that an intruder is in.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"irkit.dev/irkit/lab/cluster"
	"irkit.dev/irkit/lab/place"
)

const usage = `usage: lab VERB
  up            compile what is missing, bring the cluster up
  down          take all of it away
  status        say what runs; exit 1 unless all of it is healthy
  build         compile only
  load FILE     import an image archive (Docker or OCI)
  scene         apply the scene and wait until it is ready
  scene reset   delete the scene's namespaces, and apply it anew
  restart-apiserver PAUSE  end the API server and start it again (PAUSE: 2s)
  kubeconfig    print where the administrator's kubeconfig is
  env           print what a shell should set
  traces        list what of a lab is on this machine; exit 1 if anything is
CNI=cilium (enforces NetworkPolicy, the default) or CNI=bridge (ignores it).`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	layout, err := place.FromEnvironment()
	if err != nil {
		return err
	}
	lab := cluster.Lab{Layout: layout, Out: os.Stderr}
	switch strings.Join(arguments, " ") {
	case "up":
		return up(ctx, lab)
	case "down":
		return lab.Down()
	case "status":
		return status(ctx, lab)
	case "build":
		_, err := build(ctx, lab)
		return err
	case "scene":
		return setScene(ctx, lab)
	case "scene reset":
		return resetScene(ctx, lab)
	case "kubeconfig":
		fmt.Println(layout.Kubeconfig())
		return nil
	case "env":
		return environment(lab)
	case "traces":
		return findTraces()
	case "keep": // the node's first process, started by up
		return lab.Keep()
	case "forward": // a daemon, started by up
		return forwardAll(ctx)
	}
	if len(arguments) == 2 && arguments[0] == "load" {
		return load(ctx, lab, arguments[1])
	}
	if len(arguments) == 2 && arguments[0] == "restart-apiserver" {
		pause, err := time.ParseDuration(arguments[1])
		if err != nil {
			return err
		}
		return lab.RestartAPIServer(ctx, pause)
	}
	fmt.Fprintln(os.Stderr, usage)
	os.Exit(2)
	return nil
}
