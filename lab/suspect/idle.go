package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func hold(ctx context.Context, _ []string) error {
	<-ctx.Done()
	return nil
}

func pause(ctx context.Context, _ []string) error {
	go reap(ctx)
	<-ctx.Done()
	return nil
}

// reap collects every child that ends, its own and those that it inherits as a
// container's first process. Nothing else in this program waits for a child.
func reap(ctx context.Context) {
	ended := make(chan os.Signal, 8)
	signal.Notify(ended, syscall.SIGCHLD)
	for {
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err != nil || pid <= 0 {
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
		}
	}
}
