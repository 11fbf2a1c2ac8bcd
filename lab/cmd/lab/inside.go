package main

import (
	"context"

	"irkit.dev/irkit/lab/forward"
	"irkit.dev/irkit/lab/place"
)

// forwardAll runs below the node's first process, but in the machine's network:
// what it listens on is the machine's loopback, what it dials is the node's.
func forwardAll(ctx context.Context) error {
	return forward.Run(ctx, "/proc/1/ns/net", []forward.Pair{
		{Outside: place.APIServerOutside, Inside: place.APIServerInside},
		{Outside: place.StoreOutside, Inside: place.StoreInside},
	})
}
