package netns

import (
	"net/netip"
	"testing"

	"irkit.dev/irkit/evidence"
)

// A connection that its owner closes while it is watched loses its inode, not its past:
// the bytes that it moved before are no movement now.
func TestMovedKnowsAClosedConnection(t *testing.T) {
	flow := func(state string, inode, sent uint64) evidence.Flow {
		return evidence.Flow{Proto: "tcp", Local: netip.MustParseAddrPort("10.0.0.7:40000"), Remote: netip.MustParseAddrPort("198.51.100.5:4444"), State: state, Inode: inode, Sent: sent}
	}
	for name, c := range map[string]struct {
		before, after evidence.Flow
		moves         bool
	}{
		"closed, and silent":       {flow("ESTABLISHED", 77, 500), flow("FIN_WAIT1", 0, 500), false},
		"closed, and acknowledged": {flow("ESTABLISHED", 77, 500), flow("FIN_WAIT2", 0, 501), true},
		"still, and silent":        {flow("ESTABLISHED", 77, 500), flow("ESTABLISHED", 77, 500), false},
		"still, and moving":        {flow("ESTABLISHED", 77, 500), flow("ESTABLISHED", 77, 900), true},
		"another on the same way":  {flow("ESTABLISHED", 77, 500), flow("ESTABLISHED", 78, 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			got := moved([]evidence.Flow{c.before}, []evidence.Flow{c.after}, nil)
			if (len(got) > 0) != c.moves {
				t.Errorf("moving %v, want %v", got, c.moves)
			}
		})
	}
}
