package drift_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/known"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/collectors/beside"
	"irkit.dev/irkit/collectors/collectortest"
	"irkit.dev/irkit/collectors/drift"
	"irkit.dev/irkit/evidence"
)

// hand gives an index, and takes what is known.
type hand struct {
	agent.Hand
	index  []any
	notes  []string
	deny   error
	set    *known.Set
	asked  agent.Request
	absent bool
}

func (h *hand) Know(_ context.Context, k agent.Known) (err error) {
	if h.deny != nil {
		return h.deny
	}
	if k.Begin {
		h.set, err = known.NewSet(k.Key)
	}
	return errors.Join(err, h.set.Add(k.Marks, k.Last))
}

type told struct {
	io.Reader
	notes []string
}

func (b told) Trailer() evidence.Trailer { return evidence.Trailer{Size: -1, Notes: b.notes} }

func (h *hand) Collect(ctx context.Context, q agent.Request, add func(agent.Header, io.Reader) error) error {
	h.asked = q
	if h.absent {
		return add(agent.Header{Kind: "filesystem", Absent: &evidence.Absence{Status: evidence.Impossible, Reason: "denied"}}, nil)
	}
	if err := add(agent.Header{Kind: "filesystem", Ext: "tar"}, told{strings.NewReader("tar"), h.notes}); err != nil {
		return err
	}
	var b bytes.Buffer
	for _, line := range h.index {
		if err := json.NewEncoder(&b).Encode(line); err != nil {
			return err
		}
	}
	return add(agent.Header{Kind: "filesystem-index", Ext: "jsonl"}, told{&b, nil})
}

var then = time.Unix(1_700_000_000, 0).UTC()

// image has a folder, two files, a link and a device.
func image(t *testing.T) *drift.Index {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "etc/passwd", Typeflag: tar.TypeReg, Size: 3, Mode: 0o644},
		{Name: "etc/hosts", Typeflag: tar.TypeReg, Size: 3, Mode: 0o644}, {Name: "bin/sh", Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777},
		{Name: "proc/", Typeflag: tar.TypeDir, Mode: 0o555}, {Name: "proc/README", Typeflag: tar.TypeReg, Size: 3, Mode: 0o644},
	} {
		h.ModTime, h.Format = then, tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			_, _ = io.WriteString(w, "one")
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	x, err := drift.Read(t.Context(), []drift.Layer{{Name: "l", Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }}}, drift.Limits{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

type line map[string]any

func regular(p, content string, more line) line {
	l := line{"path": p, "type": "file", "mode": "0644", "size": len(content), "mtime": then, "sha256": evidence.Digest(sha256.Sum256([]byte(content))), "content": "stored"}
	for k, v := range more {
		l[k] = v
	}
	return l
}

// untouched is the image as a container has it, unordered as a walk is.
func untouched() []any {
	return []any{
		line{"path": "/", "type": "dir", "mode": "0755"}, line{"path": "/proc", "type": "dir", "mode": "0555", "mount": "proc"},
		line{"path": "/proc/1", "type": "dir", "mode": "0555"}, line{"path": "/etc", "type": "dir", "mode": "0755"},
		line{"path": "/bin", "type": "dir", "mode": "0700"}, line{"path": "/bin/sh", "type": "symlink", "link": "busybox", "mode": "0777"},
		regular("/etc/passwd", "one", line{"content": "in-image"}), regular("/etc/hosts", "one", line{"mount": "ext4"}),
	}
}

func with(base []any, edits ...line) []any {
	out := slices.Clone(base)
	for _, e := range edits {
		at := slices.IndexFunc(out, func(l any) bool { return l.(line)["path"] == e["path"] })
		if at < 0 {
			out = append(out, e)
		} else {
			out[at] = e
		}
	}
	return out
}

func without(base []any, p string) []any {
	return slices.DeleteFunc(slices.Clone(base), func(l any) bool { return l.(line)["path"] == p })
}

func collector(t *testing.T, h *hand, get func(context.Context) (drift.Subject, error)) *drift.Collector {
	t.Helper()
	if get == nil {
		x := image(t)
		get = func(context.Context) (drift.Subject, error) { return drift.Subject{Index: x, Name: "reg/app:1"}, nil }
	}
	c, err := drift.New(drift.Options{
		Beside: beside.Options{Hand: h, Container: "app", Ordinal: "c0", Trust: evidence.TrustDebugger, Request: agent.Request{Kind: "filesystem"}},
		Image:  get, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var target = evidence.Target{ClusterUID: "k", Namespace: "prod", Pod: "web-0", UID: "u1"}

func find(t *testing.T, s *collectortest.Sink, kind string) collectortest.Item {
	t.Helper()
	i := slices.IndexFunc(s.Items, func(i collectortest.Item) bool { return i.Kind == kind })
	if i < 0 {
		t.Fatalf("no entry %s", kind)
	}
	return s.Items[i]
}

func rows(t *testing.T, b []byte) (all []string) {
	t.Helper()
	for l := range bytes.Lines(b) {
		var r drift.Row
		if err := json.Unmarshal(l, &r); err != nil {
			t.Fatal(err)
		}
		var p string
		if r.Now != nil {
			p = r.Now.Path
		} else {
			p = r.Image.Path
		}
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Change, p, strings.Join(r.What, ","))))
	}
	return all
}

func TestWhatDiffers(t *testing.T) {
	for _, c := range []struct {
		name  string
		index []any
		notes []string
		want  []string
		says  string
	}{
		{"nothing", untouched(), nil, nil, "0 added, 0 changed, 0 deleted, 5 as in the image; 3 stand on other mounts; 3 of the image are hidden below mounts"},
		{"added", with(untouched(), regular("/tmp/evil", "x", nil), line{"path": "/tmp", "type": "dir", "mode": "01777"}), nil, []string{"added /tmp", "added /tmp/evil"}, "2 added"},
		{"deleted", without(untouched(), "/bin/sh"), nil, []string{"deleted /bin/sh"}, "1 deleted"},
		{"content", with(untouched(), regular("/etc/passwd", "two", nil)), nil, []string{"changed /etc/passwd content"}, "1 changed"},
		{"everything", with(untouched(), regular("/etc/passwd", "four", line{"mode": "04755", "uid": 7, "mtime": then.Add(time.Hour), "xattrs": line{"security.capability": "AAAA"}})), nil,
			[]string{"changed /etc/passwd size,content,mtime,mode,owner,capabilities"}, "1 changed"},
		{"a link turned", with(untouched(), line{"path": "/bin/sh", "type": "symlink", "link": "/tmp/x"}), nil, []string{"changed /bin/sh link"}, ""},
		{"another type", with(untouched(), line{"path": "/bin/sh", "type": "fifo"}), nil, []string{"changed /bin/sh type"}, ""},
		{"of the same second", with(untouched(), regular("/etc/passwd", "one", line{"mtime": then.Add(999 * time.Millisecond)})), nil, nil, ""},
		{"not read", with(untouched(), line{"path": "/etc/passwd", "type": "file", "mode": "0644", "size": 3, "mtime": then, "content": "unread", "reason": "denied"}), nil, []string{"unknown /etc/passwd"}, "1 could not be compared"},
		{"not listed", append(without(without(untouched(), "/etc/passwd"), "/etc/hosts"), line{"path": "/etc", "type": "dir", "content": "unread", "reason": "list: denied"}), nil,
			[]string{"unknown /etc/hosts", "unknown /etc/passwd"}, ""},
		{"cut short", without(untouched(), "/bin/sh"), []string{"tree cut short: more than 3 names"}, []string{"unknown /bin/sh"}, "may only not have been seen"},
		{"vanished while read", with(untouched(), line{"path": "/etc/passwd", "type": "unknown", "content": "unread", "reason": "gone"}), nil, []string{"unknown /etc/passwd"}, ""},
		{"for a mount", append(untouched(), line{"path": "/run", "type": "dir"}, line{"path": "/run/secrets", "type": "dir", "mount": "tmpfs"}, line{"path": "/run/secrets/token", "type": "file"}), nil,
			[]string{"added /run"}, "1 of the added are folders that the runtime makes for mounts"},
		{"no line", append(without(untouched(), "/bin/sh"), "garbage"), nil, []string{"unknown /bin/sh"}, "cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			sink, h := &collectortest.Sink{}, &hand{index: c.index, notes: c.notes}
			if err := collector(t, h, nil).Collect(t.Context(), target, sink); err != nil {
				t.Fatal(err)
			}
			got := find(t, sink, drift.Kind)
			if r := rows(t, got.Bytes); !slices.Equal(r, c.want) {
				t.Errorf("rows %q, want %q", r, c.want)
			}
			if notes := strings.Join(got.Entry.Notes, "; "); !strings.Contains(notes, c.says) || !strings.Contains(notes, "held against reg/app:1") {
				t.Errorf("notes %q do not say %q", notes, c.says)
			}
			if !h.asked.Known || !h.set.Whole() {
				t.Error("the worker was not told what is known")
			}
			if len(find(t, sink, "filesystem-index").Bytes) == 0 || string(find(t, sink, "filesystem").Bytes) != "tar" {
				t.Error("tar and index are not filed")
			}
		})
	}
}

// Where the image cannot be read, or the worker not told, the whole file system comes, and the
// bundle says why.
func TestWholeInstead(t *testing.T) {
	fails := func(err error) func(context.Context) (drift.Subject, error) {
		return func(context.Context) (drift.Subject, error) { return drift.Subject{}, err }
	}
	for what, c := range map[string]struct {
		get    func(context.Context) (drift.Subject, error)
		h      *hand
		status evidence.Status
	}{
		"no image":    {fails(errors.New("registry is away")), &hand{index: untouched()}, evidence.Impossible},
		"not asked":   {fails(fmt.Errorf("%w: say where", drift.ErrSkip)), &hand{index: untouched()}, evidence.LeftOut},
		"an old hand": {nil, &hand{index: untouched(), deny: errors.New("verb: unsupported")}, evidence.Collected},
		"no index":    {nil, &hand{absent: true}, evidence.Impossible},
	} {
		t.Run(what, func(t *testing.T) {
			sink := &collectortest.Sink{}
			if err := collector(t, c.h, c.get).Collect(t.Context(), target, sink); err != nil {
				t.Fatal(err)
			}
			e := find(t, sink, drift.Kind).Entry
			if e.Status != c.status || e.Status != evidence.Collected && e.Reason == "" {
				t.Errorf("%s: %s", e.Status, e.Reason)
			}
			if c.h.asked.Known != (what == "no index") {
				t.Errorf("known: %v", c.h.asked.Known)
			}
			find(t, sink, "filesystem")
		})
	}
	gone := &hand{deny: fmt.Errorf("attach: %w", agent.ErrGone)}
	if err := collector(t, gone, nil).Collect(t.Context(), target, &collectortest.Sink{}); !errors.Is(err, agent.ErrGone) {
		t.Errorf("a hand that is gone: %v", err)
	}
}

func TestConform(t *testing.T) {
	collectortest.Conform(t, collectortest.Subject{
		Target: target,
		Whole:  func(t *testing.T) collectors.Collector { return collector(t, &hand{index: untouched()}, nil) },
		Denied: func(t *testing.T) collectors.Collector { return collector(t, &hand{absent: true}, nil) },
	})
}

// FuzzWalk gives any bytes as an index of the worker's: a comparison, never a panic.
func FuzzWalk(f *testing.F) {
	f.Add([]byte(`{"path":"/etc","type":"dir","mount":"x"}` + "\n" + `{"path":"/etc/a","path_b64":"L2E=","type":"file","link":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := drift.NewWalk(t.TempDir())
		defer w.Close()
		if err := w.Read(t.Context(), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := drift.List(t.Context(), image(t), w, &out); err != nil {
			t.Error(err)
		}
		rows(t, out.Bytes())
	})
}
