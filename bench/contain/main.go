// Command contain measures how long a pod goes on talking after somebody began to contain
// it: by `irkit contain`, by the label and deny policy that a person would set by hand,
// and by the bare packet filter, set as root on the node, which is the machine's limit.
//
// The clock is the log of the suspect's command server, outside of the cluster: of every
// way the same times are taken, when a line of the standing connection was heard last, and
// a new connection. The suspect sends a line every 100 ms and knocks every 200 ms.
//
//	contain -irkit bin/irkit -image REF -lab PROGRAM [-runs 5]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	var b bench
	flag.StringVar(&b.irkit, "irkit", "bin/irkit", "the program")
	flag.StringVar(&b.image, "image", "", "its agent image, on the node")
	flag.StringVar(&b.lab, "lab", "", "the program of the lab")
	flag.StringVar(&b.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "the lab's")
	flag.StringVar(&b.log, "log", "/var/lib/irkit-lab/log/c2.log", "the command server's log")
	flag.IntVar(&b.runs, "runs", 5, "of each way")
	byHand := flag.Bool("by-hand", false, "do what a person would do by hand, once, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := b.connect()
	switch {
	case err != nil:
	case *byHand:
		err = b.label(ctx)
	default:
		err = b.run(ctx)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "contain:", err)
		os.Exit(1)
	}
}

// bench is what the ways are measured with.
type bench struct {
	irkit, image, lab, kubeconfig, log string
	runs                               int
	client                             kubernetes.Interface
}

func (b *bench) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	b.client, err = kubernetes.NewForConfig(config)
	return err
}

// run measures every way in turn, so that what else goes on hits all of them, and prints
// the table.
func (b *bench) run(ctx context.Context) error {
	ways := b.ways()
	for n := range b.runs {
		for i := range ways {
			if ways[i].lacks != "" {
				continue
			}
			seen, err := b.measure(ctx, ways[i])
			if err != nil {
				return fmt.Errorf("%s: %w", ways[i].name, err)
			}
			fmt.Fprintf(os.Stderr, "run %d of %d: %s: established %s, new %s\n", n+1, b.runs, ways[i].name, said(seen.established), said(seen.fresh))
			ways[i].seen = append(ways[i].seen, seen)
		}
	}
	return table(os.Stdout, ways)
}
