package objects

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// what names one kind of object in the bundle and in the API.
type what struct {
	kind       string // of the artifact
	gvr        schema.GroupVersionResource
	namespaced bool
	class      evidence.Class
	rank       int
}

func core(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: resource}
}

func of(group, version, resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: resource}
}

// run is one call of Collect.
type run struct {
	Options
	ctx  context.Context
	t    evidence.Target
	sink evidence.Sink
	errs []error
}

// path is the API path of an object, or of a list when name is empty.
func (r *run) path(w what, name string) string {
	p := "/apis/" + w.gvr.Group + "/" + w.gvr.Version
	if w.gvr.Group == "" {
		p = "/api/" + w.gvr.Version
	}
	if w.namespaced {
		p += "/namespaces/" + r.t.Namespace
	}
	p += "/" + w.gvr.Resource
	if name != "" {
		p += "/" + name
	}
	return p
}

func (r *run) artifact(w what, detail string) evidence.Artifact {
	rank := w.rank
	if rank == 0 {
		rank = collectors.RankObjects
	}
	return evidence.Artifact{
		Kind: w.kind, Section: evidence.Kubernetes, Ordinal: "pod", Ext: "json", MediaType: "application/json",
		Source: evidence.Source{How: "api", Detail: detail}, Trust: evidence.TrustAPI, Class: w.class,
		Volatility: rank, Started: time.Now().UTC(),
	}
}

// absent files what could not be had. A refusal is an answer; anything else is an
// error too, since another try could bring it.
func (r *run) absent(w what, detail string, err error) {
	if r.ctx.Err() != nil {
		return
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code >= http.StatusInternalServerError || status.Status().Code == http.StatusTooManyRequests {
		r.errs = append(r.errs, fmt.Errorf("get %s: %w", detail, err))
	}
	a := r.artifact(w, detail)
	a.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: reason(err)}
	r.add(a, nil)
}

// reason is the API server's own, without what varies from run to run.
func reason(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "permission missing: " + err.Error()
	case apierrors.IsNotFound(err):
		return "not there: " + err.Error()
	}
	return err.Error()
}

func (r *run) add(a evidence.Artifact, body io.Reader) {
	if _, err := r.sink.Add(r.ctx, a, body); err != nil {
		r.errs = append(r.errs, fmt.Errorf("file %s: %w", a.Source.Detail, err))
	}
}

// get reads one object by name.
func (r *run) get(w what, name string) (*unstructured.Unstructured, error) {
	if w.namespaced {
		return r.Dynamic.Resource(w.gvr).Namespace(r.t.Namespace).Get(r.ctx, name, metav1.GetOptions{})
	}
	return r.Dynamic.Resource(w.gvr).Get(r.ctx, name, metav1.GetOptions{})
}

// page reads up to 500 objects; next is empty at the end.
func (r *run) page(w what, from string) (items []unstructured.Unstructured, next string, err error) {
	o := metav1.ListOptions{Limit: 500, Continue: from}
	var list *unstructured.UnstructuredList
	if w.namespaced {
		list, err = r.Dynamic.Resource(w.gvr).Namespace(r.t.Namespace).List(r.ctx, o)
	} else {
		list, err = r.Dynamic.Resource(w.gvr).List(r.ctx, o)
	}
	if err != nil {
		return nil, "", err
	}
	return list.Items, list.GetContinue(), nil
}

// list files all objects of a kind that keep wants, page by page; nil keeps all.
func (r *run) list(w what, keep func(*unstructured.Unstructured) bool) {
	if r.ctx.Err() != nil {
		return
	}
	detail := r.path(w, "")
	items, next, err := r.page(w, "")
	if err != nil {
		r.absent(w, detail, err)
		return
	}
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		l := newLister(pw, redactor{r.HMACKey})
		for {
			for i := range items {
				if keep != nil && !keep(&items[i]) {
					continue
				}
				if err := l.item(items[i].Object); err != nil {
					pw.CloseWithError(err)
					return
				}
			}
			if next == "" {
				pw.CloseWithError(l.end())
				return
			}
			if items, next, err = r.page(w, next); err != nil {
				pw.CloseWithError(fmt.Errorf("list %s: %w", detail, err))
				return
			}
		}
	}()
	r.add(r.artifact(w, detail), pr)
	pr.CloseWithError(io.ErrClosedPipe)
	<-done
}

// gets files the named objects as one list, and an entry for each that is refused.
// It returns what it got, not redacted.
func (r *run) gets(w what, names []string) []*unstructured.Unstructured {
	var got []*unstructured.Unstructured
	for _, name := range names {
		if r.ctx.Err() != nil {
			return got
		}
		o, err := r.get(w, name)
		if err != nil {
			r.absent(w, r.path(w, name), err)
			continue
		}
		got = append(got, o)
	}
	if len(got) > 0 {
		r.objects(w, r.path(w, ""), got)
	}
	return got
}

// objects files what was read: one as it is, several as a list.
func (r *run) objects(w what, detail string, all []*unstructured.Unstructured) {
	if r.ctx.Err() != nil {
		return
	}
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		red := redactor{r.HMACKey}
		if len(all) == 1 {
			o := all[0].DeepCopy().Object
			red.object(o)
			pw.CloseWithError(indented(pw, o))
			return
		}
		l := newLister(pw, red)
		for _, o := range all {
			if err := l.item(o.DeepCopy().Object); err != nil {
				pw.CloseWithError(err)
				return
			}
		}
		pw.CloseWithError(l.end())
	}()
	r.add(r.artifact(w, detail), pr)
	pr.CloseWithError(io.ErrClosedPipe)
	<-done
}

func indented(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// lister writes a List one item at a time.
type lister struct {
	w   io.Writer
	red redactor
	n   int
}

func newLister(w io.Writer, red redactor) *lister { return &lister{w: w, red: red} }

func (l *lister) item(o map[string]any) error {
	l.red.object(o)
	head := ",\n"
	if l.n == 0 {
		head = listHead
	}
	l.n++
	if _, err := io.WriteString(l.w, head); err != nil {
		return err
	}
	return indented(l.w, o)
}

const listHead = "{\n\"apiVersion\": \"v1\",\n\"kind\": \"List\",\n\"items\": [\n"

func (l *lister) end() error {
	tail := "]\n}\n"
	if l.n == 0 {
		tail = listHead + tail
	}
	_, err := io.WriteString(l.w, tail)
	return err
}
