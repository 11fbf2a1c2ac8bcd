package playbooks

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/bag"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/evidence/seal"
	"irkit.dev/irkit/quarantine"
	"irkit.dev/irkit/quarantine/cordon"
)

// ErrNoNote says that a pod bears no undo annotation: what was done to it is told by the
// case folder alone.
var ErrNoNote = errors.New("no undo annotation")

// Whose word an undo annotation is.
const (
	NoteSigned    = "signed"    // by a signer that was brought
	NoteForeign   = "foreign"   // the signature holds, its key is not among the signers
	NoteUnchecked = "unchecked" // the signature holds, and no signers were brought
	NoteUnsigned  = "unsigned"
	NoteBroken    = "broken" // the signature is not one of this text
)

// Note is what the undo annotation of a held pod says, for a release where the case folder
// is not. The tenant can write it: but for NoteSigned it is nobody's word.
type Note struct {
	Case        string            `json:"case"`
	Target      evidence.Target   `json:"target"`
	Origin      string            `json:"origin"` // one of the constants
	Signer      string            `json:"signer,omitempty"`
	Fingerprint string            `json:"fingerprint,omitempty"`
	Why         string            `json:"why"`           // origin, as a sentence
	SHA256      evidence.Digest   `json:"sha256"`        // of the annotation's value
	LeftOut     []string          `json:"left_out"`      // of what it says, and why
	Labels      map[string]string `json:"labels_before"` // as it has them
	text        string
	done        []quarantine.Done
}

// Trusted reports a note that a signer who was brought has signed.
func (n Note) Trusted() bool { return n.Origin == NoteSigned }

// CaseOn is the case that a pod's own marks name; empty when there are none. The tenant
// can write both.
func CaseOn(pod *corev1.Pod) string {
	if u, _, _, err := quarantine.ParseUndo(pod.Annotations[evidence.AnnotationOriginal]); err == nil {
		return u.Case
	}
	if id, err := FoldCase(pod.Labels[evidence.LabelQuarantine]); err == nil {
		return id
	}
	return ""
}

// LookNote says what a release of the pod by its undo annotation alone would do, and whose
// word that annotation is against the content of an allowed_signers file (nil: not
// checked). It writes nothing. Without an annotation it fails with ErrNoNote, with one
// that is not this pod's with quarantine.ErrForeign.
func (e *Engine) LookNote(ctx context.Context, t evidence.Target, pod *corev1.Pod, signers []byte, mode quarantine.Mode) (Parole, error) {
	text, there := pod.Annotations[evidence.AnnotationOriginal]
	if !there {
		return Parole{}, fmt.Errorf("release pod %s by what stands on it: %w", t, ErrNoNote)
	}
	u, signed, signature, err := quarantine.ParseUndo(text)
	if err != nil {
		return Parole{}, fmt.Errorf("release pod %s by what stands on it: %w", t, err)
	}
	if u, err = u.Of(t, pod); err != nil {
		return Parole{}, err
	}
	n := &Note{Case: u.Case, Target: t, SHA256: sha256.Sum256([]byte(text)), Labels: u.Labels, text: text}
	n.check(signers, signed, signature)
	n.done, n.LeftOut = u.Done(text)
	p := Parole{Case: u.Case, Target: t, Note: n, Live: pod, Sealed: true, Rules: quarantine.ReleaseRules(mode),
		History: History{Case: u.Case, Dir: e.Cases.Dir(u.Case), Target: t}}
	if err := e.vacant(u.Case, t); err != nil {
		return p, err
	}
	c, ours, err := cordon.Standing(ctx, e.Conn, t)
	if err != nil && !apierrors.IsForbidden(err) {
		return p, err
	}
	if ours {
		n.done = append(n.done, quarantine.Done{Change: c})
	}
	if p.Plan, err = quarantine.PlanRelease(pod, t, n.done, mode); err != nil {
		return p, err
	}
	p.Plan.Residue = append(p.Plan.Residue, "the evidence of case "+u.Case+" is where it was contained: nothing of it is here to be sealed")
	if hands := quarantine.HandsIn(pod); len(hands) > 0 && mode == quarantine.ToService {
		p.Plan.Residue = append(p.Plan.Residue, "irkit's process in "+strings.Join(hands, ", ")+" can be ended only where the case folder is; else it ends by itself (--max-life)")
	}
	return p, nil
}

// vacant fails with ErrOtherTarget where a case of that name is here, of another pod.
func (e *Engine) vacant(caseID string, t evidence.Target) error {
	h, err := e.Cases.History(caseID)
	if was := h.Target; err == nil && was.UID != "" && was.UID != t.UID {
		return fmt.Errorf("release pod %s (uid %s) as case %s: the case of that name here is of %s (uid %s): %w", t, t.UID, caseID, was, was.UID, ErrOtherTarget)
	}
	return nil
}

func (n *Note) check(signers, signed []byte, signature string) {
	if signature == "" {
		n.Origin, n.Why = NoteUnsigned, "it is not signed: anybody who can patch the pod may have written it"
		return
	}
	o, err := seal.Verify(signers, evidence.UndoNamespace, signed, []byte(signature))
	n.Fingerprint, n.Signer = o.Fingerprint, o.Principal
	switch {
	case err == nil:
		n.Origin, n.Why = NoteSigned, "it is signed by "+o.Principal+" ("+o.Fingerprint+")"
	case errors.Is(err, seal.ErrForeign) && signers == nil:
		n.Origin, n.Why = NoteUnchecked, "it is signed by key "+o.Fingerprint+", which was not checked: --signers FILE brings the keys that you trust"
	case errors.Is(err, seal.ErrForeign):
		n.Origin, n.Why = NoteForeign, "it is signed by key "+o.Fingerprint+", which is not among the signers: anybody who can patch the pod may have written it"
	default:
		n.Origin, n.Why = NoteBroken, "its signature does not hold: it was changed after it was signed, or never was"
	}
}

// noteKey is where the first record of a case that was opened by an undo annotation keeps
// what that was.
const noteKey = "undo_annotation"

func (n Note) data() map[string]any {
	return map[string]any{noteKey: map[string]any{
		"sha256": n.SHA256.Hex(), "origin": n.Origin, "signer": n.Signer, "fingerprint": n.Fingerprint,
	}}
}

// Elsewhere reports a case folder that was opened to release by the undo annotation: the
// evidence of the containment is in another one.
func (h History) Elsewhere() bool {
	return slices.ContainsFunc(h.Records, func(r evidence.Record) bool {
		_, ok := r.Data[noteKey]
		return ok && r.Action == evidence.ActOpened
	}) && !slices.ContainsFunc(h.Records, func(r evidence.Record) bool { return r.Action == evidence.ActIsolated })
}

// adopt opens a case folder here for a release by the undo annotation: a small bundle, with
// the annotation as it was found and one record for each change that is taken over, sealed
// before the first of them is released. One that a crash left open is sealed first. The
// case must be locked.
func (e *Engine) adopt(ctx context.Context, root *os.Root, n *Note) (err error) {
	h, err := e.Cases.History(n.Case)
	if err != nil {
		return err
	}
	if last, any := h.Last(); any && !last.Sealed {
		if _, err := e.sealLeft(ctx, h, last); err != nil {
			return err
		}
		if h, err = e.Cases.History(n.Case); err != nil {
			return err
		}
	}
	earlier, err := h.earlier(root)
	if err != nil {
		return err
	}
	id := evidence.BundleID(n.Case, strings.ToLower(ulid.MustNew(ulid.Timestamp(e.Now()), rand.Reader).String()))
	w, err := bag.Create(ctx, h.Dir, id, bag.Options{Clock: e.Now})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	log, err := custody.Open(ctx, w.Root(), evidence.CustodyJSONL, custody.Options{Bundle: id, Case: n.Case, Clock: e.Now, Earlier: earlier})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	journal := NewJournal(log, nil, cluster.WithAudit)
	journal.Actor, journal.Room = &e.Actor, w.FreeReserve
	if err := e.takeOver(ctx, w, journal, n); err != nil {
		return err
	}
	_, err = e.sealBag(ctx, w, journal, log, n.Case, n.Target)
	return err
}

func (e *Engine) takeOver(ctx context.Context, w *bag.Writer, journal *Journal, n *Note) error {
	err := journal.Note(ctx, evidence.Record{Action: evidence.ActOpened, Target: &n.Target, Tool: &e.Tool, Data: n.data(),
		Note: "release by the undo annotation; the case folder of the containment, with its evidence, is elsewhere; " + n.Why})
	if err != nil {
		return err
	}
	_, err = w.Add(ctx, evidence.Artifact{
		Kind: "undo-annotation", Section: evidence.Kubernetes, Ordinal: "pod", Ext: "json", MediaType: "application/json",
		Source: evidence.Source{How: "api", Detail: "annotation " + evidence.AnnotationOriginal}, Trust: evidence.TrustAPI, Class: evidence.Restricted,
	}, bytes.NewReader([]byte(n.text)))
	if err != nil {
		return err
	}
	for _, d := range n.done {
		if err := journal.Note(ctx, evidence.Record{Action: evidence.ActAdopted, Phase: evidence.Intend, Change: &d.Change}); err != nil {
			return err
		}
	}
	return nil
}
