package playbooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authz "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/custody"
	"irkit.dev/irkit/evidence/seal"
	"irkit.dev/irkit/evidence/verify"
)

// The world of these tests: a cluster that is client-go's fake, a case folder that is
// real, and playbooks whose actions are functions.

func pod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "prod", Name: "web-0", UID: "0c5a9d1e-1111", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: "web:1"}, {Name: "side", Image: "side:1"}}},
	}
}

func target() evidence.Target {
	return evidence.Target{ClusterUID: "cluster-1", Namespace: "prod", Pod: "web-0", UID: "0c5a9d1e-1111", Node: "n1"}
}

// conn is a fake cluster in which everything is allowed.
func conn() *cluster.Conn {
	client := fake.NewClientset(pod(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kube-system", UID: "cluster-1"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "prod"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-1"}})
	client.PrependReactor("create", "selfsubjectaccessreviews", func(a ktesting.Action) (bool, runtime.Object, error) {
		r := a.(ktesting.CreateAction).GetObject().(*authz.SelfSubjectAccessReview).DeepCopy()
		r.Status.Allowed = true
		return true, r, nil
	})
	return &cluster.Conn{Client: client, Dynamic: dynamicfake.NewSimpleDynamicClient(runtime.NewScheme()), Context: "fake", Cluster: "https://fake", Namespace: "prod"}
}

// responder is a machine with an irkit on it.
type responder struct {
	*Engine
	signers string // a file that trusts it
	mu      sync.Mutex
	said    []string
}

func newResponder(t *testing.T) *responder {
	t.Helper()
	dir := t.TempDir()
	key, err := seal.LoadOrCreateKey(filepath.Join(dir, "key"), "jo@laptop")
	if err != nil {
		t.Fatal(err)
	}
	line, err := seal.AllowedSigner("jo@example.com", key.PublicKey(), evidence.SealNamespace)
	if err != nil {
		t.Fatal(err)
	}
	r := &responder{signers: filepath.Join(dir, "signers")}
	if err := os.WriteFile(r.signers, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Engine = &Engine{
		Conn: conn(), Cases: Cases{Home: filepath.Join(dir, "home")}, Signer: key, Now: time.Now,
		Tool: evidence.Tool{Name: "irkit", Version: "test"}, Actor: evidence.Actor{Name: "jo", Host: "laptop"},
		Progress: func(format string, args ...any) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.said = append(r.said, fmt.Sprintf(format, args...))
		},
	}
	return r
}

// elsewhere is the same responder with another home.
func (r *responder) elsewhere(home string) *responder {
	e := *r.Engine
	e.Cases, e.Now = Cases{Home: home}, time.Now
	return &responder{Engine: &e, signers: r.signers}
}

// sound holds a bundle to what a stranger checks: integrity, and who sealed it.
func (r *responder) sound(t *testing.T, bundle string) verify.Result {
	t.Helper()
	v, err := verify.Bundle(t.Context(), bundle, verify.Options{Signers: r.signers})
	if err != nil {
		t.Fatal(err)
	}
	if v.Integrity != verify.OK || v.Origin != verify.OK {
		t.Fatalf("%s: integrity %s, origin %s (%s): %v", bundle, v.Integrity, v.Origin, v.OriginWhy, v.Findings)
	}
	return v
}

// deed is an action that is a function.
type deed struct {
	id        string
	onFailure OnFailure
	timeout   time.Duration
	needs     Needs
	do        func(context.Context, *Site, evidence.Sink) error
}

func (d deed) Needs() Needs         { return d.needs }
func (d deed) Build(s *Site) Action { return doing{d, s} }

type doing struct {
	deed
	site *Site
}

func (d doing) Run(ctx context.Context, _ evidence.Target, sink evidence.Sink) (Outcome, error) {
	return Outcome{Summary: "did " + d.id}, d.do(ctx, d.site, sink)
}

func order(deeds ...deed) Order {
	p := &Plan{Playbook: Playbook{Name: "test"}, Source: []byte("kind: Playbook\n")}
	for _, d := range deeds {
		p.Steps = append(p.Steps, Step{ID: d.id, OnFailure: d.onFailure, Timeout: d.timeout})
		p.Blueprints = append(p.Blueprints, d)
	}
	return Order{Case: "c-1", Target: target(), Pod: pod(), Plan: p}
}

// run looks and runs, and wants a sealed bundle that verifies.
func (r *responder) run(ctx context.Context, t *testing.T, o Order) Result {
	t.Helper()
	look, err := r.Look(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Run(ctx, o, look)
	if err != nil {
		t.Fatalf("no sealed bundle: %v", err)
	}
	r.sound(t, got.Bundle)
	return got
}

// takes is a step that brings artifacts in.
func takes(id string, kinds ...string) deed {
	return deed{id: id, needs: Needs{Artifacts: kinds}, do: func(ctx context.Context, s *Site, sink evidence.Sink) error {
		for _, k := range kinds {
			if s.Captured(k) {
				continue
			}
			_, err := sink.Add(ctx, artifact(k), strings.NewReader("bytes of "+k))
			if err := errors.Join(err, s.Journal.Captured(ctx, k, 1, 0, err)); err != nil {
				return err
			}
		}
		return nil
	}}
}

func artifact(kind string) evidence.Artifact {
	return evidence.Artifact{
		Kind: kind, Section: evidence.Volatile, Container: "app", Ordinal: "c0", Ext: "jsonl", Trust: evidence.TrustDebugger,
		Class: evidence.Internal, Volatility: 1, Source: evidence.Source{How: "agent"},
	}
}

// changes is a step that makes changes; made is told of each that is really made.
func changes(id string, made func(change string), ids ...string) deed {
	return deed{id: id, do: func(ctx context.Context, s *Site, _ evidence.Sink) error {
		var errs []error
		for _, c := range ids {
			_, err := s.Journal.Do(ctx, change(c), answering(made, c))
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}}
}

func change(id string) evidence.Change {
	return evidence.Change{
		ID: id, Layer: "netpol", Op: evidence.OpCreate, Why: "make " + id,
		Object: evidence.Object{APIVersion: "v1", Kind: "Pod", Namespace: "prod", Name: id},
	}
}

// fails is a step that does not work.
func fails(id string, on OnFailure) deed {
	return deed{id: id, onFailure: on, do: func(context.Context, *Site, evidence.Sink) error { return errors.New("did not work") }}
}

// records are a case's, all bundles together.
func (r *responder) records(t *testing.T, caseID string) []evidence.Record {
	t.Helper()
	h, err := r.Cases.History(caseID)
	if err != nil {
		t.Fatal(err)
	}
	return h.Records
}

// entriesOf reads a bundle's list.
func entriesOf(t *testing.T, bundle string) []evidence.Entry {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(bundle, filepath.FromSlash(evidence.EntriesJSONL)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var out []evidence.Entry
	for line := range bytes.Lines(b) {
		var e evidence.Entry
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // not whole
		}
		decode(t, line, &e)
		out = append(out, e)
	}
	return out
}

func kindsOf(entries []evidence.Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Kind)
	}
	return out
}

// copyHome is what kill -9 would leave: the files as any other process sees them now. The
// room that is reserved for the seal is not copied whole.
func copyHome(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(at, 0o700)
		}
		var b []byte
		if !strings.HasSuffix(path, ".reserve") {
			if b, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		return os.WriteFile(at, b, 0o600)
	})
}

// log opens a custody log alone in a folder.
func newLog(t *testing.T, dir string) *custody.Log {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	l, err := custody.Open(t.Context(), root, "custody.jsonl", custody.Options{Bundle: "irkit-c-1-x", Case: "c-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func readLog(t *testing.T, dir string) []evidence.Record {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "custody.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	records, err := custody.Read(f)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return records
}

func unique(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return slices.Compact(s)
}
