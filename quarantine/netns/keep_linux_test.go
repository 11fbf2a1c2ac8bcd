package netns

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
)

// keeping keeps the cut in the target's namespace until the test ends, or stop is called.
func (s *space) keeping(t *testing.T, c agent.Cut, way egress) (repairs func() []Repair, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var all []Repair
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is in another namespace now
		if err := unix.Setns(s.fd, unix.CLONE_NEWNET); err != nil {
			ended <- err
			return
		}
		ended <- keep(ctx, c, way, func(r Repair) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, r)
		})
	}()
	stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = stop() })
	return func() []Repair { mu.Lock(); defer mu.Unlock(); return append([]Repair(nil), all...) }, stop
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(trust); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// What a target with NET_ADMIN may do to the rules is undone, each time, and counted.
func TestKeepPutsTheCutBack(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, _ := wire(t)
		c := agent.Cut{Case: theCase, Holes: probeHoles()}
		target.cutHere(t, c, way)
		repairs, stop := target.keeping(t, c, way)
		for i, attack := range [][]string{
			{"flush", "ruleset"},
			{"delete", "table", "inet", "irkit-" + theCase},
			{"flush", "chain", "netdev", "irkit-" + theCase, "out"},
			{"insert", "rule", "inet", "irkit-" + theCase, "out", "accept"},
			{"add", "element", "inet", "irkit-" + theCase, "hole4", "{ 10.77.0.1 . 443 }"},
			{"add", "chain", "netdev", "irkit-" + theCase, "mine"},
			{"flush", "ruleset"},
		} {
			target.nft(t, attack...)
			await(t, "the cut is whole after "+attack[0]+" "+attack[1], func() bool {
				return len(repairs()) == i+1
			})
			if r := target.report(t); len(r.Weak) > 0 {
				t.Errorf("after %q: %v", attack, r.Weak)
			}
		}
		target.doesNotReach(t, target4, node4, 443)
		for _, r := range repairs() {
			t.Logf("put back %s after the kernel told", r.Open)
			if r.Open <= 0 || r.At.IsZero() {
				t.Errorf("a repair without its time: %+v", r)
			}
		}
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("keep ended with %v", err)
		}
	})
}

// A decoy table of another case does not keep the cut from being put back, and a device
// that comes is covered without being called a change.
func TestKeepIsNotPutOffByADecoy(t *testing.T) {
	target, _ := wire(t)
	c := agent.Cut{Case: theCase}
	target.cutHere(t, c, netdevEgress)
	repairs, _ := target.keeping(t, c, netdevEgress)
	target.nft(t, "add", "table", "inet", "irkit-decoy")
	target.must(t, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "late0"}, PeerName: "late1"})
	})
	await(t, "the device that came is covered", func() bool { return len(target.report(t).Uncovered) == 0 && len(target.report(t).Devices) == 3 })
	if n := len(repairs()); n != 0 {
		t.Errorf("%d repairs of what nobody changed", n)
	}
	target.nft(t, "delete", "table", "netdev", "irkit-"+theCase)
	await(t, "the cut is whole", func() bool { return len(repairs()) == 1 })
}

// Another irkit's lifting ends the keeping: nothing comes back.
func TestKeepEndsWhereTheCutIsLifted(t *testing.T) {
	eachWay(t, func(t *testing.T, way egress) {
		target, _ := wire(t)
		c := agent.Cut{Case: theCase, Holes: probeHoles()}
		target.cutHere(t, c, way)
		_, stop := target.keeping(t, c, way)
		target.nft(t, "flush", "ruleset")
		target.must(t, func() error { return Lift(t.Context(), theCase) })
		target.must(t, func() error {
			_, err := Cut(t.Context(), c)
			return err
		})
		target.must(t, func() error { return Lift(t.Context(), theCase) })
		time.Sleep(patience)
		if out := target.nft(t, "list", "tables"); out != "" {
			t.Errorf("after lifting there is: %s", out)
		}
		if err := stop(); !errors.Is(err, ErrLifted) {
			t.Errorf("keep ended with %v", err)
		}
	})
}

// Against a target that flushes without an end the cut is made, and put back again and
// again; how often is told, also where it never stands for long.
func TestKeepAgainstAFlusher(t *testing.T) {
	target, _ := wire(t)
	c := agent.Cut{Case: theCase, Holes: probeHoles()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	flushed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is in another namespace now
		if err := unix.Setns(target.fd, unix.CLONE_NEWNET); err != nil {
			flushed <- err
			return
		}
		for ctx.Err() == nil {
			conn, err := open()
			if err != nil {
				flushed <- err
				return
			}
			conn.FlushRuleset()
			_ = conn.Flush()
			_ = conn.CloseLasting()
			time.Sleep(20 * time.Millisecond)
		}
		flushed <- nil
	}()
	repairs, _ := target.keeping(t, c, netdevEgress)
	await(t, "the cut is put back many times", func() bool { return len(repairs()) > 20 })
	cancel()
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	await(t, "the cut stands when the flusher is gone", func() bool {
		whole := false
		target.must(t, func() error {
			r, err := Report(t.Context(), theCase)
			whole = err == nil && len(r.Weak) == 0
			return nil // it may not stand yet
		})
		return whole
	})
}
