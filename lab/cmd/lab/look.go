package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"irkit.dev/irkit/lab/cluster"
	"irkit.dev/irkit/lab/traces"
)

func status(ctx context.Context, lab cluster.Lab) error {
	cni := lab.CNI()
	processes, err := lab.Processes(ctx)
	if err != nil {
		return errors.New("the lab is not up\nlab: hint: make lab-up")
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, process := range processes {
		state := "runs, since " + time.Since(process.Started).Round(time.Second).String()
		if process.Ended {
			state = process.Status
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", process.Name, state, lab.Layout.Log(process.Name))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if cni == "" {
		return errors.New("the lab is not up yet, or was interrupted on its way")
	}
	if err := lab.Healthy(ctx); err != nil {
		return err
	}
	fmt.Printf("up and healthy (CNI=%s)\n", cni)
	return nil
}

func environment(lab cluster.Lab) error {
	for _, line := range lab.Environment() {
		fmt.Println("export", line)
	}
	return nil
}

func findTraces() error {
	found, err := traces.Find()
	if err != nil {
		return err
	}
	for _, trace := range found {
		fmt.Println(trace)
	}
	if len(found) > 0 {
		return fmt.Errorf("%d traces of a lab are on this machine", len(found))
	}
	return nil
}
