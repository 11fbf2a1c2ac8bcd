package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/quarantine"
)

// heldBy is what a release is of: a case that is here, or a pod that is held by one that is
// elsewhere.
type heldBy struct {
	caseID    string
	elsewhere bool
	target    evidence.Target
	pod       *corev1.Pod // nil: gone, or not asked for
}

const releaseThere = "release where the case folder is, or give --home"

// toRelease finds the case to release: the one that was named; else the one that the pod's
// own marks name, where that is here; else the one that holds the pod's UID, open or
// released, since releasing twice is no error; else the open one of a pod of that name
// which is gone.
func (d *door) toRelease(c *cli.Context, e *playbooks.Engine) (h heldBy, err error) {
	if named := c.String("case"); named != "" {
		if h.caseID, err = foldCase(named); err != nil || d.whole(e, h.caseID) || !c.Args().Present() {
			return h, err
		}
	}
	name, err := only(c, "pod")
	if err != nil {
		return h, err
	}
	var absent error
	h.target, h.pod, absent = e.Conn.Resolve(c.Context, name)
	if absent != nil {
		h.pod = nil
		return d.toReleaseGone(e, h, name, absent)
	}
	marked := playbooks.CaseOn(h.pod)
	if h.caseID != "" || marked != "" {
		if h.caseID == "" {
			h.caseID = marked
		}
		if h.elsewhere = !d.whole(e, h.caseID); !h.elsewhere {
			return h, nil
		}
		id, open, err := e.Cases.OpenOf(h.target.UID)
		if open && id != h.caseID && d.whole(e, id) {
			return h, refused(fmt.Errorf("case %s is open here for pod %s, and the pod is marked by case %s, which is not here: nothing was changed", id, h.target, h.caseID),
				"--case "+id+" releases what that case did, and leaves the mark of the other")
		}
		return h, err
	}
	id, found, err := e.Cases.Latest(func(t evidence.Target) bool { return t.UID == h.target.UID })
	if found || err != nil {
		h.caseID = id
		return h, err
	}
	return d.toReleaseGone(e, h, name, refused(fmt.Errorf("no case of pod %s is here, and it bears no mark of one: nothing was changed", h.target), releaseThere))
}

// toReleaseGone finds the open case of a pod of that name, of which no pod is there any
// more: what was made around it is still to be taken away.
func (d *door) toReleaseGone(e *playbooks.Engine, h heldBy, name string, other error) (heldBy, error) {
	name = strings.TrimPrefix(name, "pod/")
	id, found, err := e.Cases.Latest(func(t evidence.Target) bool {
		return t.Namespace == e.Conn.Namespace && t.Pod == name && t.UID != h.target.UID
	})
	if err != nil || !found || h.caseID != "" && h.caseID != id {
		return h, errors.Join(err, other)
	}
	history, err := e.Cases.History(id)
	if err == nil && h.pod != nil && history.Released() {
		return h, other // this pod is another one, and nothing of the earlier one's is left
	}
	if h.pod != nil {
		d.say("the pod of case %s was replaced: releasing what is left around it; the pod that is there now is not touched", id)
	}
	h.caseID = id
	return h, nil
}

// whole reports a case folder that a release can go by. One that was opened to release by
// the undo annotation, and ended before it was sealed, is not.
func (d *door) whole(e *playbooks.Engine, caseID string) bool {
	h, err := e.Cases.History(caseID)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	last, any := h.Last()
	return any && (last.Sealed || !h.Elsewhere())
}

// lookRelease says what the release would do, by the custody log or by the annotation.
func (d *door) lookRelease(c *cli.Context, e *playbooks.Engine, h heldBy, mode quarantine.Mode) (playbooks.Parole, error) {
	if !h.elsewhere {
		p, err := e.LookRelease(c.Context, h.caseID, mode)
		if errors.Is(err, fs.ErrNotExist) {
			return p, refused(fmt.Errorf("case %s is not here: nothing was changed", h.caseID), releaseThere)
		}
		return p, d.ended(err)
	}
	signers, err := readSigners(c.String("signers"))
	if err != nil {
		return playbooks.Parole{}, err
	}
	p, err := e.LookNote(c.Context, h.target, h.pod, signers, mode)
	if err == nil && p.Case != h.caseID {
		err = fmt.Errorf("pod %s is held by case %s, not %s: %w", h.target, p.Case, h.caseID, quarantine.ErrForeign)
	}
	switch {
	case errors.Is(err, playbooks.ErrOtherTarget):
		return p, refused(err, "--home FOLDER, of its own for this release")
	case errors.Is(err, playbooks.ErrNoNote), errors.Is(err, quarantine.ErrForeign):
		return p, refused(fmt.Errorf("case %s is not here, and the pod does not tell how to release it: nothing was changed: %w", h.caseID, err),
			releaseThere, `docs/containment.md, "By hand", says how without irkit`)
	}
	return p, d.ended(err)
}

func readSigners(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("", fmt.Errorf("--signers: %w", err))
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// mayTrust refuses to go by what stands on the pod unless that was said.
func (d *door) mayTrust(c *cli.Context, p playbooks.Parole) error {
	if p.Note == nil {
		return nil
	}
	if !c.Bool("force") {
		what := fmt.Sprintf("case %s is not here, and the undo annotation is all there is: %s", p.Case, p.Note.Why)
		return refused(fmt.Errorf("%s; nothing was changed", what), releaseThere, "--force goes by the annotation; the evidence is not here, and is not sealed by it")
	}
	if !p.Note.Trusted() {
		d.warn("going by an undo annotation that nobody vouches for: %s", p.Note.Why)
	}
	return nil
}

// printNote shows what the annotation says. One that nobody vouches for is shown as a diff.
func printNote(w io.Writer, width int, p playbooks.Parole) {
	n := p.Note
	fmt.Fprintln(w, "by the undo annotation on the pod, since the case folder is not here")
	rows := [][]string{{"origin", strings.ToUpper(n.Origin) + ": " + quote(n.Why)}, {"sha256", n.SHA256.Hex()}}
	for _, s := range n.LeftOut {
		rows = append(rows, []string{"left out", quote(s)})
	}
	table(w, width, rows)
	if n.Trusted() {
		return
	}
	fmt.Fprintln(w, "what would be written, by its word")
	for _, s := range p.Plan.Steps {
		if s.Change == nil {
			continue
		}
		fmt.Fprintf(w, "  %s\n", quote(s.Change.Object.String()))
		for _, l := range stepDiff(*s.Change) {
			fmt.Fprintf(w, "  %s\n", l)
		}
	}
}

// stepDiff is one write of a release, line by line: what goes with -, what comes with +.
func stepDiff(c evidence.Change) []string {
	before, after := fieldsOf(c.Before), fieldsOf(c.After)
	if c.Op == evidence.OpDelete {
		return []string{"- all of it"}
	}
	if c.Layer == quarantine.LayerNetns {
		return []string{"- the cut in its network namespace"}
	}
	keys := maps.Clone(before)
	maps.Copy(keys, after)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if b, there := before[k]; there {
			out = append(out, "- "+quote(k+": "+clip(b)))
		}
		if a, there := after[k]; there {
			out = append(out, "+ "+quote(k+": "+clip(a)))
		}
	}
	return out
}

// fieldsOf are the leaves of a merge patch that release would write; ownerReferences it
// never does.
func fieldsOf(raw json.RawMessage) map[string]string {
	var v map[string]map[string]any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	out := map[string]string{}
	for top, fields := range v {
		for name, f := range fields {
			switch f := f.(type) {
			case map[string]any:
				for k, v := range f {
					if v != nil {
						out[top+"."+name+"."+k] = fmt.Sprint(v)
					}
				}
			case nil, []any:
			default:
				out[top+"."+name] = fmt.Sprint(f)
			}
		}
	}
	return out
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:57] + "..."
	}
	return s
}
