package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/nftables"
)

// settling is how long a keeper that was about to put the cut back may need to be done.
const settling = 20 * time.Millisecond

// Lift takes away the cut of a case: its tables with all that is in them, its filters,
// and queueing disciplines that it made and nobody uses. It touches nothing else, and
// does nothing where no cut of the case stands. Whoever keeps the cut (Keep) ends.
func Lift(ctx context.Context, caseID string) error {
	if _, err := tableName(caseID); err != nil {
		return err
	}
	conn, err := open()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	mark := &nftables.Table{Family: nftables.TableFamilyINet, Name: liftMark(caseID)}
	for range 5 {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("lift the cut of case %s: %w", caseID, err)
		}
		conn.AddTable(mark) // whoever keeps the cut reads that it is to end
		if err := conn.Flush(); err != nil {
			return fmt.Errorf("lift the cut of case %s: %w", caseID, err)
		}
		stands, err := cases(conn)
		if err == nil {
			err = lift(conn, caseID, stands[caseID], mark)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("lift the cut of case %s: %w", caseID, err)
		}
		time.Sleep(settling)
		if stands, err = cases(conn); err == nil && len(stands[caseID]) == 0 {
			return nil
		}
	}
	return fmt.Errorf("lift the cut of case %s: someone puts it back each time", caseID)
}

// lift takes away what stands, and the mark.
func lift(conn *nftables.Conn, caseID string, stands []nftables.TableFamily, mark *nftables.Table) error {
	var failed []error
	if found, err := read(conn, caseID); err == nil && len(stands) > 0 {
		s, _ := stoodSpec(caseID, found) // what cannot be read has no filter that is ours
		devices, err := refuseNode(nil)
		failed = append(failed, err)
		for _, d := range devices {
			if s.egress == clsactEgress {
				failed = append(failed, releaseEgress(s, d))
			}
		}
	}
	out, err := open()
	if err != nil {
		return errors.Join(append(failed, err)...)
	}
	defer out.CloseLasting()
	for _, f := range stands {
		out.DelTable(&nftables.Table{Family: f, Name: prefix + caseID})
	}
	out.DelTable(mark)
	return errors.Join(append(failed, out.Flush())...)
}
