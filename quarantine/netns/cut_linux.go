package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// Cut drops everything that enters or leaves the network namespace of the calling
// thread, but for the holes and what is allowed. It is one transaction: the kernel
// takes all rules or none. It holds when Cut returns, and after this process ends.
//
// Calling it again for the same case with the same rules touches nothing, or covers
// devices that came since; with other rules they are replaced in one transaction and
// the counters go on. Rules that someone changed are put back. A namespace that is the
// node's is refused with agent.ErrNodeNetwork, one where a cut of another case stands
// with an *OtherCaseError; nothing is touched then. NodeAddrs is the guard against the
// former that always works: a caller names them all.
func Cut(ctx context.Context, c agent.Cut) (evidence.CutReport, error) {
	return cut(ctx, c, netdevEgress)
}

func cut(ctx context.Context, c agent.Cut, way egress) (evidence.CutReport, error) {
	for n := 1; ; n++ {
		r, done, err := ensure(ctx, c, way, nil)
		// Put in place, and taken away before it could be read: the target is at it.
		if err == nil || done != repaired || n == tries {
			return r, err
		}
	}
}

// tries is how often a cut is made against a target that takes it away.
const tries = 8

// ensure makes the cut whole, and says what it had to do for that. A keeper's call is
// asked, before anything is put in place, whether it still shall be; tables that seem to
// be of another case do not stop it: the target may have made them.
func ensure(ctx context.Context, c agent.Cut, way egress, still func() bool) (evidence.CutReport, deed, error) {
	begun := time.Now()
	want, err := newSpec(c)
	if err != nil {
		return evidence.CutReport{}, stood, err
	}
	want.egress, want.started = way, begun.UTC()
	devices, err := refuseNode(c.NodeAddrs)
	if err != nil {
		return evidence.CutReport{}, stood, fmt.Errorf("cut for case %s: %w", c.Case, err)
	}
	conn, err := open()
	if err != nil {
		return evidence.CutReport{}, stood, err
	}
	defer conn.CloseLasting()
	others, err := cases(conn)
	if err != nil {
		return evidence.CutReport{}, stood, err
	}
	for other := range others {
		if other != c.Case && still == nil {
			return evidence.CutReport{}, stood, fmt.Errorf("cut for case %s: %w", c.Case, &OtherCaseError{Case: other})
		}
	}
	if err := ctx.Err(); err != nil {
		return evidence.CutReport{}, stood, fmt.Errorf("cut for case %s: %w", c.Case, err)
	}
	want.nextHops = nextHops(want)
	old := former{stands: others[c.Case]}
	if len(old.stands) > 0 {
		if old.found, err = read(conn, c.Case); err == nil && holds(want, old.found, devices) {
			return tell(c.Case, old.found, devices), stood, nil
		} // what cannot be read is replaced
	}
	done := repaired
	if unspoilt(want, old.found, devices) {
		done = extended
	}
	if still != nil && !still() {
		return evidence.CutReport{}, stood, ErrLifted
	}
	if err := install(want, devices, old); err != nil {
		return evidence.CutReport{}, stood, fmt.Errorf("cut for case %s: %w", c.Case, err)
	}
	took := time.Since(begun)
	found, err := read(conn, c.Case)
	if err != nil {
		return evidence.CutReport{}, done, err
	}
	if has, err := stoodSpec(c.Case, found); err != nil || !has.asks(want) {
		return evidence.CutReport{}, done, fmt.Errorf("cut for case %s: the kernel does not have the rules that it was given", c.Case)
	}
	r := tell(c.Case, found, devices)
	r.Took = took
	return r, done, nil
}

// deed is what ensure had to do.
type deed int

const (
	stood    deed = iota // the cut stood, whole
	extended             // it stood, and was brought to devices that came since
	repaired             // it was not there, or not as it was made
)

// unspoilt reports that what stands is as it was made, as far as it goes.
func unspoilt(want spec, found map[nftables.TableFamily]standing, devices []device) bool {
	has, err := stoodSpec(want.caseID, found)
	if err != nil || !has.asks(want) {
		return false
	}
	here, _ := covered(has, found, devices)
	return len(differences(plan(has, here), found, devices)) == 0 && !clsactMissing(has, here)
}

// former is what stands of the case already.
type former struct {
	stands []nftables.TableFamily
	found  map[nftables.TableFamily]standing // nil: it could not be read
	fresh  bool                              // it is to be taken away first
}

// holds reports that a cut of these rules stands, whole and on every device.
func holds(want spec, found map[nftables.TableFamily]standing, devices []device) bool {
	has, err := stoodSpec(want.caseID, found)
	if err != nil || !has.asks(want) || clsactMissing(has, devices) {
		return false
	}
	_, uncovered := covered(has, found, devices)
	return len(uncovered) == 0 && len(differences(plan(has, devices), found, devices)) == 0
}

// install puts the rules in place: over those that stand when they are irkit's,
// instead of them when someone changed them.
//
// A kernel without the egress hook (before Linux 5.16) refuses the whole; then traffic
// control holds the way out.
func install(want spec, devices []device, old former) error {
	old.fresh = len(old.stands) > 0
	if has, err := stoodSpec(want.caseID, old.found); err == nil {
		want.started, want.qdiscs = has.started, has.qdiscs
		here, _ := covered(has, old.found, devices)
		old.fresh = len(differences(plan(has, here), old.found, devices)) > 0 || has.egress != want.egress
	}
	if want.egress == clsactEgress {
		return withClsact(want, devices, old)
	}
	err := commit(plan(want, devices), old)
	if err == nil || errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		return err // the latter: a table or a device went in this moment
	}
	if second := withClsact(want, devices, old); second != nil {
		return errors.Join(err, second)
	}
	return nil
}

// commit sends all tables in one transaction.
func commit(tables []table, old former) error {
	conn, err := open()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	seeds := counters(old.found)
	for _, f := range old.stands {
		if old.fresh {
			conn.DelTable(&nftables.Table{Family: f, Name: tables[0].name})
		}
	}
	for _, t := range tables {
		kt := conn.AddTable(&nftables.Table{Family: t.family, Name: t.name})
		if err := addSets(conn, kt, t, old.found[t.family], old.fresh); err != nil {
			return err
		}
		drop := nftables.ChainPolicyDrop
		chains := map[string]*nftables.Chain{}
		for _, c := range t.chainsInOrder() {
			kc := &nftables.Chain{Table: kt, Name: c.name}
			if c.hook != nil {
				kc.Type, kc.Hooknum, kc.Priority, kc.Device, kc.Policy = nftables.ChainTypeFilter, c.hook, &c.priority, c.device, &drop
			}
			chains[c.name] = conn.AddChain(kc)
		}
		conn.FlushTable(kt)
		for _, c := range t.chains {
			for _, r := range c.rules {
				exprs := seeded(r.exprs, seeds[counterKey{t.family, c.name, r.comment}])
				conn.AddRule(&nftables.Rule{Table: kt, Chain: chains[c.name], Exprs: exprs, UserData: encodeComment(r.comment)})
			}
		}
	}
	if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOBUFS) {
		return fmt.Errorf("give the kernel the packet filter: %w", err)
	}
	return nil // after ENOBUFS the answers were lost, not the rules: the report reads them
}

// seeded lets the counters of replaced rules go on.
func seeded(exprs match, seed expr.Counter) match {
	out := slices.Clone(exprs)
	for i, e := range out {
		if _, ok := e.(*expr.Counter); ok {
			out[i] = &expr.Counter{Packets: seed.Packets, Bytes: seed.Bytes}
		}
	}
	return out
}

func addSets(conn *nftables.Conn, kt *nftables.Table, t table, has standing, fresh bool) error {
	for i, s := range t.sets {
		ks := &nftables.Set{Table: kt, Name: s.name, ID: uint32(i + 1), KeyType: s.key, HasTimeout: s.timeout, Dynamic: s.dynamic, Size: s.size}
		if err := conn.AddSet(ks, nil); err != nil {
			return fmt.Errorf("describe set %s: %w", s.name, err)
		}
		var elements []nftables.SetElement
		for _, e := range s.elements {
			elements = append(elements, nftables.SetElement{Key: e})
		}
		if s.dynamic && !s.timeout && fresh { // keep what was tried
			for _, e := range has.elements[s.name] {
				elements = append(elements, nftables.SetElement{Key: e.Key})
			}
		}
		if !s.dynamic {
			conn.FlushSet(ks)
		}
		if len(elements) == 0 {
			continue
		}
		if err := conn.SetAddElements(ks, elements); err != nil {
			return fmt.Errorf("describe elements of set %s: %w", s.name, err)
		}
	}
	return nil
}
