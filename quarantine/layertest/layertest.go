// Package layertest is the conformance suite of quarantine.Layer: what its contract
// promises, each layer is held to by its own tests.
package layertest

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// Fixture is one world with a target in it, and a layer over it. Every call of the
// function that Run is given makes a new one.
type Fixture struct {
	Layer  quarantine.Layer
	Scene  quarantine.Scene
	Target evidence.Target
	// World shows the state that the layer writes to, in a form that compares.
	World func() string
	// Writes counts the writes sent so far, tried ones (dry run) not.
	Writes func() int
	// Dry counts the writes sent so far with dryRun=All; nil: the layer has no dry run.
	Dry func() int
	// Replace puts another object of the same name (another UID) in the place of what the
	// changes name; nil: they name nothing that is there before.
	Replace func()
}

// Run holds a layer to the contract.
func Run(t *testing.T, fixture func(t *testing.T) Fixture) {
	t.Run("traits name the layer and say why", func(t *testing.T) {
		tr := fixture(t).Layer.Traits()
		if tr.Name == "" {
			t.Error("no name")
		}
		for _, r := range tr.Rules {
			if r.Resource == "" || len(r.Verbs) == 0 || r.Why == "" || r.Scope == "" {
				t.Errorf("rule %+v is not whole", r)
			}
		}
	})
	t.Run("prepare is pure", func(t *testing.T) { prepare(t, fixture(t)) })
	t.Run("prepare refuses another's scene", func(t *testing.T) {
		f := fixture(t)
		other := f.Target
		other.UID += "-other"
		if c, err := f.Layer.Prepare(f.Scene, other); err == nil {
			t.Errorf("prepared %d changes for a target that the scene is not of", len(c))
		}
	})
	t.Run("apply is idempotent and release takes exactly it back", func(t *testing.T) { applyAndRelease(t, fixture(t)) })
	t.Run("release of what was never applied is harmless", func(t *testing.T) {
		f := fixture(t)
		before := f.World()
		for _, c := range changes(t, f) {
			if _, err := f.Layer.Release(t.Context(), c); err != nil {
				t.Errorf("release of %s: %v", c.ID, err)
			}
		}
		if after := f.World(); after != before {
			t.Errorf("release changed the world:\n%s\n%s", before, after)
		}
	})
	t.Run("a replaced object is never written to", func(t *testing.T) {
		f := fixture(t)
		if f.Replace == nil {
			t.Skip("the layer's changes name nothing that can be replaced")
		}
		cs := slices.DeleteFunc(changes(t, f), func(c evidence.Change) bool { return c.Op == evidence.OpCreate }) // nothing was there before
		f.Replace()
		before, writes := f.World(), f.Writes()
		for _, c := range cs {
			if _, err := f.Layer.Apply(t.Context(), c); !errors.Is(err, cluster.ErrReplaced) {
				t.Errorf("apply of %s: %v, want ErrReplaced", c.ID, err)
			}
			if _, err := f.Layer.Release(t.Context(), c); err != nil {
				t.Errorf("release of %s: %v", c.ID, err)
			}
		}
		if f.World() != before || f.Writes() != writes {
			t.Error("the replacement was written to")
		}
	})
	t.Run("dry release sends dryRun=All", func(t *testing.T) { dryRelease(t, fixture(t)) })
	t.Run("dry run sends dryRun=All", func(t *testing.T) {
		f := fixture(t)
		d, ok := f.Layer.(quarantine.DryRunner)
		if !ok || f.Dry == nil {
			t.Skip("the layer has no dry run")
		}
		cs := changes(t, f)
		for _, c := range cs {
			if err := d.ApplyDry(t.Context(), c); err != nil {
				t.Errorf("dry run of %s: %v", c.ID, err)
			}
		}
		if f.Dry() != len(cs) || f.Writes() != 0 {
			t.Errorf("%d dry and %d real writes for %d changes", f.Dry(), f.Writes(), len(cs))
		}
	})
}

// dryRelease tries to take back what was applied, and takes nothing back.
func dryRelease(t *testing.T, f Fixture) {
	d, ok := f.Layer.(quarantine.DryReleaser)
	if !ok || f.Dry == nil {
		t.Skip("the undoing of the layer cannot be tried")
	}
	var done []evidence.Change
	for _, c := range changes(t, f) {
		r, err := f.Layer.Apply(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		done = append(done, quarantine.Merge(c, r))
	}
	world, writes, dry := f.World(), f.Writes(), f.Dry()
	for _, c := range done {
		if r, err := d.ReleaseDry(t.Context(), f.Target, c); err != nil || r.Already {
			t.Errorf("dry release of %s: %+v, %v", c.ID, r, err)
		}
	}
	if f.Dry()-dry != len(done) || f.Writes() != writes {
		t.Errorf("%d dry and %d real writes for %d changes\n%s\n%s", f.Dry()-dry, f.Writes()-writes, len(done), world, f.World())
	}
}

func changes(t *testing.T, f Fixture) []evidence.Change {
	t.Helper()
	cs, err := f.Layer.Prepare(f.Scene, f.Target)
	if err != nil {
		t.Fatal(err)
	}
	if len(cs) == 0 {
		t.Fatal("the fixture gives the layer nothing to do")
	}
	return cs
}

func prepare(t *testing.T, f Fixture) {
	scene, err := json.Marshal(f.Scene)
	if err != nil {
		t.Fatal(err)
	}
	writes := f.Writes()
	a, b := changes(t, f), changes(t, f)
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if !bytes.Equal(x, y) {
		t.Errorf("two calls differ:\n%s\n%s", x, y)
	}
	var again quarantine.Scene
	if err := json.Unmarshal(scene, &again); err != nil {
		t.Fatal(err)
	}
	f.Scene = again
	z, _ := json.Marshal(changes(t, f))
	if !bytes.Equal(x, z) {
		t.Errorf("a recorded scene gives other changes:\n%s\n%s", x, z)
	}
	if f.Writes() != writes {
		t.Error("prepare wrote")
	}
	seen := map[string]bool{}
	for _, c := range a {
		if c.ID == "" || seen[c.ID] {
			t.Errorf("id %q is empty or not unique", c.ID)
		}
		seen[c.ID] = true
		if c.Layer != f.Layer.Traits().Name || c.Why == "" || c.Object.Name == "" || c.Object.Kind == "" || !json.Valid(c.Before) || !json.Valid(c.After) {
			t.Errorf("change %+v is not whole", c)
		}
	}
}

func applyAndRelease(t *testing.T, f Fixture) {
	before := f.World()
	cs := changes(t, f)
	done := make([]evidence.Change, len(cs))
	for i, c := range cs {
		writes := f.Writes()
		r, err := f.Layer.Apply(t.Context(), c)
		if err != nil {
			t.Fatalf("apply of %s: %v", c.ID, err)
		}
		if n := f.Writes() - writes; n != 1 || r.Already {
			t.Errorf("apply of %s made %d writes (already %v), want one", c.ID, n, r.Already)
		}
		done[i] = quarantine.Merge(c, r)
	}
	applied := f.World()
	if applied == before {
		t.Error("apply changed nothing")
	}
	for _, c := range cs {
		r, err := f.Layer.Apply(t.Context(), c)
		if err != nil || !r.Already {
			t.Errorf("second apply of %s: already %v, %v", c.ID, r.Already, err)
		}
	}
	if f.World() != applied {
		t.Error("the second apply changed the world")
	}
	for range 2 {
		for i := len(done) - 1; i >= 0; i-- {
			if _, err := f.Layer.Release(t.Context(), done[i]); err != nil {
				t.Errorf("release of %s: %v", done[i].ID, err)
			}
		}
		if got := f.World(); got != before {
			t.Errorf("after release:\n%s\nbefore apply:\n%s", got, before)
		}
	}
}
