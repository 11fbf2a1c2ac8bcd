package netns

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/nftables"
)

// Lift takes away the cut of a case: its tables with all that is in them, its filters,
// and queueing disciplines that it made and nobody uses. It touches nothing else, and
// does nothing where no cut of the case stands.
func Lift(ctx context.Context, caseID string) error {
	name, err := tableName(caseID)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("lift the cut of case %s: %w", caseID, err)
	}
	conn, err := open()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	stands, err := cases(conn)
	if err != nil || len(stands[caseID]) == 0 {
		return err
	}
	var failed []error
	if found, err := read(conn, caseID); err == nil {
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
	for _, f := range stands[caseID] {
		out.DelTable(&nftables.Table{Family: f, Name: name})
	}
	if err := out.Flush(); err != nil {
		failed = append(failed, err)
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("lift the cut of case %s: %w", caseID, err)
	}
	return nil
}
