package playbooks

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
)

// noted appends records to the last bundle's log, sealed or not.
func (r *responder) noted(t *testing.T, caseID string, records ...evidence.Record) {
	t.Helper()
	h, err := r.Cases.History(caseID)
	if err != nil {
		t.Fatal(err)
	}
	last, _ := h.Last()
	root, err := os.OpenRoot(h.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	log, err := custody.Continue(root, custody.Options{Bundle: last.ID, Case: caseID})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for _, x := range records {
		if _, _, err := log.Append(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
}

func released(result string) evidence.Record {
	return evidence.Record{Action: evidence.ActReleased, Result: result}
}

func TestReleasedIsTheLastWord(t *testing.T) {
	isolated := evidence.Record{Action: evidence.ActIsolated, Phase: evidence.Intend}
	step := evidence.Record{Action: evidence.ActReleased, Phase: evidence.Did, Result: "ok", Change: &evidence.Change{ID: "release:a"}}
	for _, c := range []struct {
		records []evidence.Record
		want    bool
	}{
		{nil, false},
		{[]evidence.Record{isolated}, false},
		{[]evidence.Record{isolated, step}, false},
		{[]evidence.Record{isolated, step, released("ok")}, true},
		{[]evidence.Record{isolated, step, released("partial")}, false},
		{[]evidence.Record{isolated, released("partial"), released("ok")}, true},
		{[]evidence.Record{isolated, released("ok"), isolated}, false},
		{[]evidence.Record{isolated, released("ok"), {Action: evidence.ActUploaded}}, true},
	} {
		if got := (History{Records: c.records}).Released(); got != c.want {
			t.Errorf("%d records: released %v", len(c.records), got)
		}
	}
}

func TestTheOpenCaseOfAPod(t *testing.T) {
	r := newResponder(t)
	session := func(caseID, uid string) {
		t.Helper()
		o := order(takes("one", "processes"))
		o.Case, o.Target.UID = caseID, uid
		if _, err := r.Run(t.Context(), o, Prospect{}); err != nil {
			t.Fatal(err)
		}
	}
	session("c-old", "uid-1")
	session("c-new", "uid-1")
	session("c-other", "uid-2")
	session("c-old", "uid-1") // a further bundle does not make a case newer
	if err := os.MkdirAll(r.Cases.Dir("c-empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	open := func(uid, want string) {
		t.Helper()
		id, ok, err := r.Cases.OpenOf(uid)
		if err != nil || id != want || ok != (want != "") {
			t.Errorf("the open case of %s: %q (%v, %v), want %q", uid, id, ok, err, want)
		}
	}
	latest := func(uid, want string) {
		t.Helper()
		id, ok, err := r.Cases.Latest(func(x evidence.Target) bool { return x.UID == uid })
		if err != nil || id != want || ok != (want != "") {
			t.Errorf("the latest case of %s: %q (%v, %v), want %q", uid, id, ok, err, want)
		}
	}
	open("uid-1", "c-new")
	open("uid-2", "c-other")
	open("uid-3", "")
	r.noted(t, "c-new", released("partial"))
	open("uid-1", "c-new")
	r.noted(t, "c-new", released("ok"))
	open("uid-1", "c-old")
	latest("uid-1", "c-new")
	latest("uid-3", "")
	ids, err := r.Cases.All()
	if want := []string{"c-empty", "c-new", "c-old", "c-other"}; err != nil || !slices.Equal(ids, want) {
		t.Errorf("all: %q, %v", ids, err)
	}
}

func TestAHistoryHasAllBundlesInOrder(t *testing.T) {
	r := newResponder(t)
	first := r.run(t.Context(), t, order(takes("one", "processes")))
	r.noted(t, "c-1", evidence.Record{Action: evidence.ActUploaded, Result: "ok"})
	second := r.run(t.Context(), t, order(takes("one", "processes")))
	// What else may stand in a case folder is no bundle.
	for _, name := range []string{"irkit-notes.txt", "photos", "irkit-c-1-x.reserve"} {
		if err := os.MkdirAll(filepath.Join(r.Cases.Dir("c-1"), name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// A session that ended before its first record left an empty one.
	if err := os.MkdirAll(filepath.Join(r.Cases.Dir("c-1"), "irkit-c-1-00000000000000000000000000", "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	h, err := r.Cases.History("c-1")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, b := range h.Bags {
		ids = append(ids, b.ID)
	}
	if want := []string{filepath.Base(first.Bundle), filepath.Base(second.Bundle)}; !slices.Equal(ids, want) || h.Target != target() {
		t.Fatalf("bundles %q of %s, want %q", ids, h.Target, want)
	}
	i := slices.IndexFunc(h.Records, func(x evidence.Record) bool { return x.Action == evidence.ActUploaded })
	if i < 1 || h.Records[i-1].Action != evidence.ActSealed || h.Records[i+1].Action != evidence.ActOpened {
		t.Errorf("what came after the first seal is not between the bundles: record %d", i)
	}
	if last, ok := h.Last(); !ok || last.Head.Next != len(h.Records)-i-1 {
		t.Errorf("the last bundle's head is at %d", last.Head.Next)
	}
	if _, ok := (History{}).Last(); ok {
		t.Error("no bundle has a last one")
	}
}

// A log that somebody broke hides nothing of what comes before the break, nor of other bundles.
func TestABrokenLogIsToldAndReadAsFarAsItGoes(t *testing.T) {
	r := newResponder(t)
	first := r.run(t.Context(), t, order(changes("isolate", nil, "a"), changes("more", nil, "b")))
	r.run(t.Context(), t, order(changes("again", nil, "c")))
	path := filepath.Join(first.Bundle, filepath.FromSlash(evidence.CustodyJSONL))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	forged := strings.Replace(string(b), `"note":"did isolate"`, `"note":"did nothing"`, 1)
	if forged == string(b) {
		t.Fatal("nothing to forge")
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte(forged), 0o600)); err != nil {
		t.Fatal(err)
	}
	h, err := r.Cases.History("c-1")
	var broken *custody.BrokenError
	if !errors.As(err, &broken) {
		t.Fatalf("%v", err)
	}
	s, err := r.Cases.Recall("c-1")
	if err != nil || len(s.Faults) != 1 || len(h.Bags) != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	all := strings.Join(s.Changes, " ")
	if !strings.Contains(all, "Pod/a ") || !strings.Contains(all, "Pod/c ") || strings.Contains(all, "Pod/b ") {
		t.Errorf("standing by what can be read: %q", all)
	}
	if id, ok, err := r.Cases.OpenOf(target().UID); err != nil || !ok || id != "c-1" {
		t.Errorf("the case is not found any more: %q, %v", id, err)
	}
}

func TestStatusOfACaseThatIsNotHere(t *testing.T) {
	r := newResponder(t)
	if _, err := r.Cases.Recall("nosuch"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("%v", err)
	}
}

func TestAReleasedCaseHasNothingStanding(t *testing.T) {
	r := newResponder(t)
	r.run(t.Context(), t, order(changes("isolate", nil, "a")))
	if s, err := r.Cases.Recall("c-1"); err != nil || len(s.Changes) != 1 || s.Released || s.LastStep != "sealed" || len(s.Bags) != 1 || !s.Bags[0].Sealed {
		t.Errorf("%+v, %v", s, err)
	}
	r.noted(t, "c-1", released("ok")) // the pod was deleted: what was on it went with it
	if s, err := r.Cases.Recall("c-1"); err != nil || len(s.Changes)+len(s.Unsure) != 0 || !s.Released || s.LastStep != "released" {
		t.Errorf("%+v, %v", s, err)
	}
}
