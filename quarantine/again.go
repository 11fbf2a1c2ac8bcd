package quarantine

import (
	"context"
	"fmt"

	"irkit.dev/irkit/cluster"
)

// Again makes a write that reads its object anew each time it is called: again as long as
// the API server is away (cluster.Persist), and at most five times where the object changed
// underneath, then with ErrContended.
func Again(ctx context.Context, conn *cluster.Conn, did string, write func() error) error {
	var last error
	for n := range tries {
		if err := pause(ctx, n); err != nil {
			return fmt.Errorf("%s: %w", did, err)
		}
		if last = cluster.Persist(ctx, write); last == nil || !moved(last) {
			return conn.Explain(did, last)
		}
	}
	return fmt.Errorf("%s: tried %d times, last: %w: %w", did, tries, last, ErrContended)
}
