package playbooks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"irkit.dev/irkit/evidence"
)

// image is a home as kill -9 would leave it, and what was really done in the world by then.
type image struct {
	home string
	made []string
}

// killing runs a session and takes an image each time it reads the clock, which is before
// every record and every entry, and twice in the middle of every change.
func killing(t *testing.T, r *responder, deeds func(made func(string)) []deed) (Result, []image) {
	t.Helper()
	var mu sync.Mutex
	var made []string
	var images []image
	dir, last := t.TempDir(), ""
	take := func() {
		mu.Lock()
		defer mu.Unlock()
		now := fmt.Sprint(made, treeOf(t, r.Cases.Home))
		if now == last {
			return
		}
		last = now
		at := filepath.Join(dir, fmt.Sprint(len(images)))
		if err := copyHome(r.Cases.Home, at); err != nil {
			t.Fatal(err)
		}
		images = append(images, image{at, slices.Clone(made)})
	}
	if err := os.MkdirAll(r.Cases.Home, 0o700); err != nil {
		t.Fatal(err)
	}
	r.Now = func() time.Time { take(); return time.Now() }
	o := order(deeds(func(id string) {
		take()
		mu.Lock()
		made = append(made, id)
		mu.Unlock()
		take()
	})...)
	look, err := r.Look(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Run(t.Context(), o, look)
	if err != nil {
		t.Fatal(err)
	}
	take()
	return got, images
}

// Wherever a session is killed, running it again comes to a good end: nothing that was
// collected is lost, no change that is known to stand is made again, none is forgotten, and
// what status says meanwhile is true.
func TestKilledAnywhereAndRunAgain(t *testing.T) {
	deeds := func(made func(string)) []deed {
		return []deed{
			takes("volatile", "processes", "connections"), changes("isolate", made, "a", "b"),
			takes("files", "filesystem"), changes("more", made, "c"),
		}
	}
	r := newResponder(t)
	_, images := killing(t, r, deeds)
	if len(images) < 25 {
		t.Fatalf("only %d moments to be killed at", len(images))
	}
	for i, im := range images {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			again := r.elsewhere(im.home)
			had := collectedIn(t, again)
			truth(t, again, im.made)
			surely := StandingChanges(recordsOf(again))
			var made []string
			got := again.run(t.Context(), t, order(deeds(func(id string) { made = append(made, id) })...))
			for _, id := range made {
				if _, stood := surely[id]; stood {
					t.Errorf("%s was made again", id)
				}
			}
			for _, id := range []string{"a", "b", "c"} {
				if !slices.Contains(im.made, id) && !slices.Contains(made, id) {
					t.Errorf("%s was never made", id)
				}
			}
			truth(t, again, unique(append(made, im.made...)))
			now := collectedIn(t, again)
			for kind, digest := range had {
				if now[kind] != digest {
					t.Errorf("%s is lost", kind)
				}
			}
			if len(now) != 3 || len(got.Failed) > 0 {
				t.Errorf("in the end there are %d kinds, failed %q", len(now), got.Failed)
			}
			h, err := again.Cases.History("c-1")
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range h.Bags {
				if !b.Sealed {
					t.Errorf("bundle %s stays open", b.ID)
				}
				again.sound(t, filepath.Join(h.Dir, b.ID))
			}
		})
	}
}

// Wherever a session is killed, what is there can be sealed without a cluster.
func TestKilledAnywhereAndSealed(t *testing.T) {
	r := newResponder(t)
	_, images := killing(t, r, func(made func(string)) []deed {
		return []deed{takes("volatile", "processes"), changes("isolate", made, "a"), fails("bad", Stop)}
	})
	for i, im := range images {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			again := r.elsewhere(im.home)
			again.Conn = nil
			had := collectedIn(t, again)
			h, _ := again.Cases.History("c-1")
			last, any := h.Last()
			if !any {
				return // killed before the first record: there is no case yet
			}
			digest, err := again.Reseal(t.Context(), "c-1")
			if err != nil || digest.IsZero() != last.Sealed {
				t.Fatalf("%s, %v; sealed before: %v", digest, err, last.Sealed)
			}
			again.sound(t, filepath.Join(h.Dir, last.ID))
			if now := collectedIn(t, again); fmt.Sprint(now) != fmt.Sprint(had) {
				t.Errorf("had %v, have %v", had, now)
			}
			truth(t, again, im.made)
			if digest, err := again.Reseal(t.Context(), "c-1"); err != nil || !digest.IsZero() {
				t.Errorf("sealing what is sealed: %s, %v", digest, err)
			}
		})
	}
}

// recordsOf is what can be read of the case now.
func recordsOf(r *responder) []evidence.Record {
	h, _ := r.Cases.History("c-1")
	return h.Records
}

// truth holds what status says against what was really done.
func truth(t *testing.T, r *responder, made []string) {
	t.Helper()
	s, err := r.Cases.Recall("c-1")
	if err != nil {
		if len(made) > 0 {
			t.Errorf("%q were made, and status says: %v", made, err)
		}
		return
	}
	for _, id := range made {
		said := "netpol: " + change(id).Object.String()
		if !slices.Contains(s.Changes, said) && !slices.Contains(s.Unsure, said) {
			t.Errorf("%s was made, and status does not tell", id)
		}
	}
	for _, said := range s.Changes {
		if !slices.ContainsFunc(made, func(id string) bool { return said == "netpol: "+change(id).Object.String() }) {
			t.Errorf("status says that %s stands", said)
		}
	}
	if s.Released {
		t.Error("status says that it is released")
	}
}

// collectedIn are the kinds that are whole in any bundle of the case, with their digests.
func collectedIn(t *testing.T, r *responder) map[string]evidence.Digest {
	t.Helper()
	dir := r.Cases.Dir("c-1")
	ids, err := bagIDs(dir)
	if err != nil {
		return nil
	}
	out := map[string]evidence.Digest{}
	for _, id := range ids {
		for _, e := range entriesOf(t, filepath.Join(dir, id)) {
			if e.Status == evidence.Collected {
				out[e.Kind] = e.SHA256
			}
		}
	}
	return out
}

// An interrupt while sealing does not end the sealing.
func TestInterruptedWhileSealing(t *testing.T) {
	r := newResponder(t)
	ctx, stop := context.WithCancel(t.Context())
	r.Progress = func(format string, _ ...any) {
		if format == "sealing %d entries" {
			stop()
		}
	}
	got := r.run(ctx, t, order(takes("one", "processes")))
	if got.Interrupted || len(got.Failed) > 0 {
		t.Errorf("%+v", got)
	}
}
