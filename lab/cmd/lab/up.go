package main

import (
	"context"
	"os"

	"irkit.dev/irkit/lab/cluster"
	"irkit.dev/irkit/lab/daemons"
	"irkit.dev/irkit/lab/debian"
	"irkit.dev/irkit/lab/parts"
)

func up(ctx context.Context, lab cluster.Lab) error {
	if err := debian.Provide(ctx, wantedCNI(), lab.Out); err != nil {
		return err // without root this says what is missing, which is more than the next line
	}
	if err := cluster.NeedRoot(); err != nil {
		return err
	}
	set, err := build(ctx, lab)
	if err != nil {
		return err
	}
	return lab.Up(ctx, set, wantedCNI())
}

// build provides Debian's packages and compiles the parts that the cache lacks.
func build(ctx context.Context, lab cluster.Lab) (parts.Set, error) {
	cni := wantedCNI()
	if err := cluster.CheckCNI(cni); err != nil {
		return nil, err
	}
	if err := debian.Provide(ctx, cni, lab.Out); err != nil {
		return nil, err
	}
	return parts.Build(ctx, lab.Layout, parts.Needed(cni), parts.Progress{Out: lab.Out})
}

func wantedCNI() string {
	if cni := os.Getenv("CNI"); cni != "" {
		return cni
	}
	return daemons.Cilium
}
