package playbooks

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
)

// steps are the outcomes of steps, as custody has them.
func steps(records []evidence.Record) []string {
	var out []string
	for _, r := range records {
		if r.Action == evidence.ActStep {
			out = append(out, r.Step+" "+r.Result)
		}
	}
	return out
}

func TestASessionAlwaysSeals(t *testing.T) {
	wait := func(ctx context.Context, _ *Site, _ evidence.Sink) error { <-ctx.Done(); return ctx.Err() }
	tears := deed{id: "tears", do: func(ctx context.Context, _ *Site, sink evidence.Sink) error {
		r := io.MultiReader(strings.NewReader("what came"), iotest.ErrReader(errors.New("stream broke")))
		_, err := sink.Add(ctx, artifact("torn"), r)
		return err
	}}
	for name, c := range map[string]struct {
		deeds       []deed
		steps       []string
		entries     []string
		failed      string // part of what the result says
		interrupted bool
	}{
		"all well": {
			deeds: []deed{takes("one", "processes"), takes("two", "mounts")}, steps: []string{"one ok", "two ok"}, entries: []string{"processes", "mounts"},
		},
		"after a failed step the others run": {
			deeds: []deed{takes("one", "processes"), fails("bad", Continue), takes("two", "mounts")},
			steps: []string{"one ok", "bad failed", "two ok"}, entries: []string{"processes", "mounts"}, failed: "step bad: did not work",
		},
		"a step that asks to stop": {
			deeds: []deed{takes("one", "processes"), fails("bad", Stop), takes("two", "mounts")},
			steps: []string{"one ok", "bad failed"}, entries: []string{"processes"}, failed: "step bad: did not work",
		},
		"a stream that broke": {
			deeds: []deed{tears, takes("two", "mounts")}, steps: []string{"tears failed", "two ok"}, entries: []string{"torn", "mounts"}, failed: "stream broke",
		},
		"a step whose time is over": {
			deeds: []deed{{id: "slow", timeout: 10 * time.Millisecond, do: wait}, takes("two", "mounts")},
			steps: []string{"slow failed", "two ok"}, entries: []string{"mounts"}, failed: context.DeadlineExceeded.Error(),
		},
		"an interrupt in the middle of a step": {
			deeds: []deed{takes("one", "processes"), {id: "slow", do: wait}, takes("two", "mounts")},
			steps: []string{"one ok", "slow failed"}, entries: []string{"processes"}, failed: context.Canceled.Error(), interrupted: true,
		},
		"no step at all": {deeds: nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newResponder(t)
			o := order(c.deeds...)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			if c.interrupted {
				r.Progress = func(format string, args ...any) {
					if format == "step %s" && args[0] == "slow" {
						stop()
					}
				}
			}
			stored := false
			o.OpenStore = func(context.Context) (evidence.Store, error) {
				stored = true
				return nil, errors.New("out of reach")
			}
			got := r.run(ctx, t, o)
			records := r.records(t, "c-1")
			if s := steps(records); !slices.Equal(s, c.steps) {
				t.Errorf("steps %q, want %q", s, c.steps)
			}
			if k := kindsOf(entriesOf(t, got.Bundle)); !slices.Equal(k, c.entries) || got.Entries != len(c.entries) {
				t.Errorf("entries %q (%d), want %q", k, got.Entries, c.entries)
			}
			if all := strings.Join(got.Failed, "; "); (c.failed == "") != (all == "") || !strings.Contains(all, c.failed) {
				t.Errorf("failed %q, want %q", all, c.failed)
			}
			if got.Interrupted != c.interrupted || stored == c.interrupted || (got.StoreError == "") == stored {
				t.Errorf("interrupted %v, stored %v (%s)", got.Interrupted, stored, got.StoreError)
			}
			if first, last := records[0], records[len(records)-1]; first.Action != evidence.ActOpened || first.Target == nil || *first.Target != target() ||
				first.Actor == nil || first.Actor.Name != "jo" || last.Action != evidence.ActSealed {
				t.Errorf("first record %+v, last %+v", first, last)
			}
			for _, name := range []string{evidence.EvidenceJSON, evidence.CompletenessJSON, evidence.SceneJSON, evidence.PlanJSON, evidence.PlaybookYAML, evidence.ReportEN, evidence.EnvironmentJSON} {
				if _, err := os.Stat(filepath.Join(got.Bundle, name)); err != nil {
					t.Errorf("not described: %v", err)
				}
			}
			if got.Verdict != nil {
				t.Errorf("a verdict %+v, and nobody asked for isolation", got.Verdict)
			}
		})
	}
}

// Whoever asks for isolation is told how it stands, also where no step measured.
func TestIsolationWithoutAMeasurementIsNotProven(t *testing.T) {
	r := newResponder(t)
	silent := deed{id: "isolate", needs: Needs{Layers: []string{"netpol"}}, do: func(context.Context, *Site, evidence.Sink) error { return nil }}
	got := r.run(t.Context(), t, order(silent))
	if got.Verdict == nil || got.Verdict.State == evidence.Contained {
		t.Fatalf("verdict %+v", got.Verdict)
	}
	if _, err := os.Stat(filepath.Join(got.Bundle, evidence.VerdictJSON)); err != nil {
		t.Error(err)
	}
	s, err := r.Cases.Recall("c-1")
	if err != nil || s.Before != string(got.Verdict.State) {
		t.Errorf("status tells %q (%v), want %s", s.Before, err, got.Verdict.State)
	}
}

func TestAfterASealAFurtherBundleFollows(t *testing.T) {
	r := newResponder(t)
	var made []string
	deeds := []deed{takes("one", "processes"), changes("isolate", func(c string) { made = append(made, c) }, "a", "b")}
	first := r.run(t.Context(), t, order(deeds...))
	before := treeOf(t, first.Bundle)
	second := r.run(t.Context(), t, order(deeds...))
	if second.Bundle == first.Bundle || second.Resumed {
		t.Fatalf("%+v", second)
	}
	if after := treeOf(t, first.Bundle); after != before {
		t.Error("the sealed bundle changed")
	}
	if want := []string{"a", "b"}; !slices.Equal(made, want) {
		t.Errorf("made %q, want %q: what stands is not made again", made, want)
	}
	h, err := r.Cases.History("c-1")
	if err != nil || len(h.Bags) != 2 || !h.Bags[0].Sealed || !h.Bags[1].Sealed || h.Bags[1].ID != filepath.Base(second.Bundle) {
		t.Fatalf("%+v, %v", h.Bags, err)
	}
	i := slices.IndexFunc(h.Records, func(x evidence.Record) bool { return x.Bundle == h.Bags[1].ID })
	e := h.Records[i].Earlier
	if e == nil || e.Bundle != filepath.Base(first.Bundle) || e.Seal != first.Seal.Hex() || e.Head != h.Bags[0].Head.Prev() {
		t.Errorf("its first record carries %+v", e)
	}
	info, err := os.ReadFile(filepath.Join(second.Bundle, evidence.BagInfo))
	if err != nil || !strings.Contains(string(info), "Irkit-Earlier-Seal: "+first.Seal.Hex()) {
		t.Errorf("bag-info.txt does not name the earlier seal (%v):\n%s", err, info)
	}
}

func TestOneSessionAtATime(t *testing.T) {
	r := newResponder(t)
	var inner, resealed error
	var other Result
	o := order(deed{id: "meanwhile", do: func(ctx context.Context, _ *Site, _ evidence.Sink) error {
		look, err := r.Look(ctx, order(takes("x", "y")))
		if err != nil {
			return err
		}
		other, inner = r.Run(ctx, order(takes("x", "y")), look)
		_, resealed = r.Reseal(ctx, "c-1")
		return nil
	}})
	got := r.run(t.Context(), t, o)
	var held *custody.HeldError
	if !errors.As(inner, &held) || held.PID != os.Getpid() || other.Bundle != "" {
		t.Errorf("the second session: %+v, %v", other, inner)
	}
	if !errors.As(resealed, &held) {
		t.Errorf("sealing meanwhile: %v", resealed)
	}
	if h, err := r.Cases.History("c-1"); err != nil || len(h.Bags) != 1 || len(got.Failed) > 0 {
		t.Errorf("%+v, %v, %q", h.Bags, err, got.Failed)
	}
	r.run(t.Context(), t, order(takes("x", "y"))) // the lock is given back
}

func TestTheCaseOfAnotherPodIsRefused(t *testing.T) {
	r := newResponder(t)
	r.run(t.Context(), t, order(takes("one", "processes")))
	before := treeOf(t, r.Cases.Home)
	o := order(takes("one", "processes"))
	o.Target.UID = "another"
	got, err := r.Run(t.Context(), o, Prospect{})
	if !errors.Is(err, ErrOtherTarget) || !strings.Contains(err.Error(), "0c5a9d1e-1111") || got.Bundle != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if after := treeOf(t, r.Cases.Home); after != before {
		t.Errorf("something was changed:\n%s\n%s", before, after)
	}
	// The same pod, of which more is known by now, is the same.
	o = order(takes("one", "processes"))
	o.Target.Node = "n2"
	r.run(t.Context(), t, o)
}

func TestRawValuesAreAuthorisedInCustody(t *testing.T) {
	r := newResponder(t)
	o := order()
	o.Values, o.Justification, o.Authority = true, "the key is the evidence", evidence.Authority{Basis: "INC-42"}
	got := r.run(t.Context(), t, o)
	records := r.records(t, "c-1")
	if a := records[0].Authority; a == nil || a.Basis != "INC-42" {
		t.Errorf("%+v", records[0])
	}
	if x := records[1]; x.Action != evidence.ActAuthorised || !strings.Contains(x.Note, "the key is the evidence") {
		t.Errorf("%+v", x)
	}
	var m evidence.Meta
	b, err := os.ReadFile(filepath.Join(got.Bundle, evidence.EvidenceJSON))
	if err != nil {
		t.Fatal(err)
	}
	decode(t, b, &m)
	if m.Privacy.Environment != "raw" || m.Privacy.Justified != o.Justification || m.Legal.Basis != "INC-42" || m.Target.Target != target() || m.Results.Entries != 0 {
		t.Errorf("%+v", m)
	}
}

// treeOf is a folder's files with what is in them, as one text that compares.
func treeOf(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "lock" {
			return err
		}
		text := ""
		if d.Type().IsRegular() && !strings.HasSuffix(path, ".reserve") {
			raw, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(raw)
		}
		b.WriteString(path + "\n" + text + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
