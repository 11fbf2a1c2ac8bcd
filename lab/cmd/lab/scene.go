package main

import (
	"context"
	"fmt"
	"time"

	"irkit.dev/irkit/lab/apply"
	"irkit.dev/irkit/lab/cluster"
	"irkit.dev/irkit/lab/images"
	"irkit.dev/irkit/lab/parts"
	"irkit.dev/irkit/lab/scene"
)

func setScene(ctx context.Context, lab cluster.Lab) error {
	return withScene(ctx, lab, scene.Set)
}

func resetScene(ctx context.Context, lab cluster.Lab) error {
	return withScene(ctx, lab, scene.Reset)
}

func withScene(ctx context.Context, lab cluster.Lab, do func(context.Context, *apply.Cluster) error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	reached, err := lab.Connect()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := do(ctx, reached); err != nil {
		return err
	}
	fmt.Fprintf(lab.Out, "lab: the scene is ready after %s\n", time.Since(began).Round(100*time.Millisecond))
	return nil
}

func load(ctx context.Context, lab cluster.Lab, archive string) error {
	if _, err := lab.Connect(); err != nil {
		return err
	}
	set, err := parts.Locate(lab.Layout, parts.Needed(lab.CNI()))
	if err != nil {
		return err
	}
	loaded, err := images.Containerd{Socket: lab.Layout.ContainerdSocket(), Parts: set}.Load(ctx, archive)
	if err != nil {
		return err
	}
	if len(loaded) == 0 {
		return fmt.Errorf("%s holds no image that has a name", archive)
	}
	for _, name := range loaded {
		fmt.Println(name)
	}
	return nil
}
