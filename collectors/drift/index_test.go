package drift

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/agent/known"
)

var epoch = time.Unix(1_700_000_000, 0).UTC()

// layerOf packs headers; content is that of a file, by its Uname.
func layerOf(t testing.TB, hs ...tar.Header) Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range hs {
		content := h.Uname
		h.Uname = ""
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(content))
		}
		if h.ModTime.IsZero() {
			h.ModTime = epoch
		}
		h.Format = tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytesLayer(b.Bytes())
}

func bytesLayer(b []byte) Layer {
	return Layer{Name: "test", Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

func indexOf(t testing.TB, layers ...Layer) *Index {
	t.Helper()
	x, err := Read(t.Context(), layers, Limits{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func list(t testing.TB, x *Index) map[string]File {
	t.Helper()
	all, last := map[string]File{}, ""
	if err := x.Each(t.Context(), func(f File) error {
		if _, twice := all[f.path()]; twice {
			t.Errorf("%s comes twice", f.path())
		}
		if key := keyOf(f.path()); len(all) > 0 && key <= last {
			t.Errorf("%q comes after %q", f.path(), pathOf(last))
		}
		last = keyOf(f.path())
		if dir := path.Dir(f.path()); dir != f.path() && all[dir].Type != typeDir {
			t.Errorf("%s comes before its folder", f.path())
		}
		all[f.path()] = f
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(all) != x.Files {
		t.Errorf("%d paths, the index says %d", len(all), x.Files)
	}
	return all
}

func dirOf(name string) tar.Header        { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }
func fileOf(name, text string) tar.Header { return tar.Header{Name: name, Uname: text, Mode: 0o644} }

func TestLayersOverEachOther(t *testing.T) {
	x := indexOf(t,
		layerOf(t, dirOf("etc/"), fileOf("etc/passwd", "one"), fileOf("etc/gone", ""), dirOf("opt/"), dirOf("opt/app/"), fileOf("opt/app/old", ""), fileOf("opt/app/deep/er", ""),
			fileOf("var", "a file"), dirOf("srv/"), fileOf("srv/x", ""), tar.Header{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib"}),
		layerOf(t, fileOf("etc/passwd", "two"), fileOf("etc/.wh.gone", ""), fileOf("opt/app/.wh..wh..opq", ""), fileOf("opt/app/new", "n"), dirOf("var/"), fileOf("var/log", ""),
			fileOf(".wh.srv", ""), dirOf("srv/"), fileOf("srv/y", ""), fileOf("usr/bin/tool", "t"), fileOf("lib/hidden", ""), fileOf("./.wh..wh.plnk", "")),
		layerOf(t, tar.Header{Name: "usr/bin/twin", Typeflag: tar.TypeLink, Linkname: "usr/bin/tool"}, tar.Header{Name: "usr/bin/lost", Typeflag: tar.TypeLink, Linkname: "nowhere"},
			tar.Header{Name: "usr/bin/third", Typeflag: tar.TypeLink, Linkname: "/usr/bin/twin"}))
	all := list(t, x)
	want := []string{"/", "/etc", "/etc/passwd", "/lib", "/opt", "/opt/app", "/opt/app/new", "/srv", "/srv/y", "/usr", "/usr/bin", "/usr/bin/lost", "/usr/bin/third",
		"/usr/bin/tool", "/usr/bin/twin", "/var", "/var/log"}
	if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
		t.Fatalf("merged to\n%q, want\n%q", got, want)
	}
	if f := all["/etc/passwd"]; *f.SHA256 != sha256.Sum256([]byte("two")) || f.Layer != 2 || f.Mode != "0644" || !f.MTime.Equal(epoch) {
		t.Errorf("the upper layer's file: %+v", f)
	}
	if !all["/usr"].Implied || all["/etc"].Implied || !all["/"].Implied || all["/var"].Type != typeDir {
		t.Error("folders that no layer has by themselves, and those that one has")
	}
	for _, p := range []string{"/usr/bin/twin", "/usr/bin/third"} {
		if f := all[p]; f.SHA256 == nil || *f.SHA256 != *all["/usr/bin/tool"].SHA256 || f.Layer != 3 || f.Hard == "" {
			t.Errorf("hard link %s: %+v", p, f)
		}
	}
	if !all["/usr/bin/lost"].Unresolved {
		t.Error("a hard link to nothing has content")
	}
	if got := strings.Join(x.Notes, "; "); !strings.Contains(got, "1 hard links that lead to nothing") || !strings.Contains(got, "1 "+belowNoFolder) {
		t.Errorf("notes %q", got)
	}
}

// TestHostileLayers: T01, T04, T10 to T12. Nothing leaves the root, and what is too much ends.
func TestHostileLayers(t *testing.T) {
	x := indexOf(t, layerOf(t, fileOf("../../etc/cron.d/x", "up"), fileOf("/abs", "a"), fileOf("a/../../b", "b"), fileOf("twice", "1"), fileOf("twice", "2"),
		fileOf("bad\xffname", "raw"), fileOf("esc\x1b[31m\nline", ""), fileOf(strings.Repeat("d/", 2000)+"deep", "")))
	all := list(t, x)
	if all["/etc/cron.d/x"].Type != typeFile || all["/abs"].Type != typeFile || all["/b"].Type != typeFile {
		t.Errorf("names that lead out of the root")
	}
	if *all["/twice"].SHA256 != sha256.Sum256([]byte("2")) {
		t.Error("of two entries of one name the last counts")
	}
	if f := all["/bad\xffname"]; f.PathB64 == "" {
		t.Errorf("exact bytes of a name: %+v", f)
	}
	if !strings.Contains(strings.Join(x.Notes, ";"), "3 names that are absolute or lead upwards") {
		t.Errorf("notes %q", x.Notes)
	}
	for what, c := range map[string]struct {
		l Layer
		o Limits
	}{
		"entries": {layerOf(t, fileOf("a", ""), fileOf("b", "")), Limits{Entries: 1}},
		"bytes":   {layerOf(t, fileOf("a", strings.Repeat("x", 1<<20))), Limits{Bytes: 1 << 19}},
		"links":   {layerOf(t, fileOf("a", ""), tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}, tar.Header{Name: "c", Typeflag: tar.TypeLink, Linkname: "a"}), Limits{Links: 1}},
		"a bomb": {Layer{Open: func(context.Context) (io.ReadCloser, error) {
			head := tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: 1 << 50, Format: tar.FormatPAX}
			var b bytes.Buffer
			_ = tar.NewWriter(&b).WriteHeader(&head)
			return io.NopCloser(io.MultiReader(&b, zeros{})), nil
		}}, Limits{Bytes: 1 << 20}},
		"an endless tail": {Layer{Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 1024)), zeros{})), nil
		}}, Limits{Bytes: 1 << 20}},
	} {
		if _, err := Read(t.Context(), []Layer{c.l}, c.o); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v", what, err)
		}
	}
	broken := errors.New("digest is another")
	if _, err := Read(t.Context(), []Layer{{Name: "sha256:x", Open: func(context.Context) (io.ReadCloser, error) { return nil, broken }}}, Limits{}); !errors.Is(err, broken) || !strings.Contains(err.Error(), "sha256:x") {
		t.Errorf("a layer that cannot be read: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, []Layer{layerOf(t, fileOf("a", ""))}, Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// model applies layers one after the other, as the specification tells it.
type model map[string]string // path: type and content

func (m model) remove(p string, itself bool) {
	for k := range m {
		if itself && k == p || strings.HasPrefix(k, strings.TrimSuffix(p, "/")+"/") {
			delete(m, k)
		}
	}
}

func (m model) apply(hs []tar.Header) {
	for _, h := range hs { // whiteouts are about what is below this layer
		dir, base := path.Split("/" + h.Name)
		if base == opaque {
			m.remove(path.Clean(dir), false)
		} else if name, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
			m.remove(path.Join(dir, name), true)
		}
	}
	for _, h := range hs {
		p := path.Clean("/" + h.Name)
		if strings.HasPrefix(path.Base(p), whiteoutPrefix) {
			continue
		}
		for at := path.Dir(p); at != "/"; at = path.Dir(at) {
			if _, there := m[at]; !there {
				m[at] = "dir"
			}
		}
		if h.Typeflag == tar.TypeDir {
			m[p] = "dir"
			continue
		}
		m.remove(p, false)
		m[p] = "file " + h.Uname
	}
}

// TestLayersAgainstAModel merges random layers, and wants what applying them one after the
// other gives; small memory, so that runs go to disk.
func TestLayersAgainstAModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(20261123, 2))
	names := []string{"a", "b", "a!", "c"}
	for round := range 300 {
		m, layers, all := model{}, []Layer{}, [][]tar.Header{}
		for l := range 1 + rnd.IntN(5) {
			var hs []tar.Header
			solid := map[string]bool{} // no folder in this layer: nothing goes below it
			used := map[string]bool{}
			for i := range rnd.IntN(9) {
				p := names[rnd.IntN(4)]
				for range rnd.IntN(3) {
					p += "/" + names[rnd.IntN(4)]
				}
				bad := used[p]
				for at := path.Dir(p); at != "."; at = path.Dir(at) {
					bad = bad || solid[at]
				}
				for u := range used {
					bad = bad || strings.HasPrefix(u, p+"/")
				}
				if bad {
					continue
				}
				used[p] = true
				switch rnd.IntN(6) {
				case 0:
					hs = append(hs, dirOf(p+"/"))
				case 1:
					hs = append(hs, fileOf(path.Join(path.Dir(p), whiteoutPrefix+path.Base(p)), ""))
					solid[p] = true
				case 2:
					hs = append(hs, dirOf(p+"/"), fileOf(p+"/"+opaque, ""))
				default:
					hs = append(hs, fileOf(p, fmt.Sprintf("%d.%d.%d", round, l, i)))
					solid[p] = true
				}
			}
			// A folder of another layer that is a file in this model's lower layers cannot be gone through.
			trial := maps.Clone(m)
			trial.apply(hs)
			fine := true
			for p := range trial {
				if v, there := trial[path.Dir(p)]; path.Dir(p) != "/" && (!there || v != "dir") {
					fine = false
				}
			}
			if !fine {
				continue
			}
			m = trial
			layers, all = append(layers, layerOf(t, hs...)), append(all, hs)
		}
		x := indexOf(t, layers...)
		got := model{}
		for p, f := range list(t, x) {
			if p == "/" {
				continue
			}
			if got[p] = f.Type; f.Type == typeFile {
				got[p] += " " + f.SHA256.String()
			}
		}
		for p, v := range m {
			if text, ok := strings.CutPrefix(v, "file "); ok {
				m[p] = fmt.Sprintf("file sha256:%x", sha256.Sum256([]byte(text)))
			}
		}
		if !maps.Equal(got, m) {
			for i, hs := range all {
				for _, h := range hs {
					t.Logf("layer %d: %s", i+1, h.Name)
				}
			}
			t.Fatalf("round %d:\ngot  %v\nwant %v", round, got, m)
		}
	}
}

// TestSortedOnDisk merges many small runs, several times over.
func TestSortedOnDisk(t *testing.T) {
	s := newSorter(t.TempDir())
	s.most = 4 << 10
	rnd := rand.New(rand.NewPCG(1, 2))
	const n = 20_000
	for _, i := range rnd.Perm(n) {
		if err := s.add(t.Context(), record{key: keyOf(fmt.Sprintf("/d%03d/f%05d", i%100, i)), seq: uint64(i), body: []byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.runs) >= mostRuns || len(s.runs) == 0 {
		t.Errorf("%d runs", len(s.runs))
	}
	for range 2 {
		last, seen := "", 0
		if err := s.each(t.Context(), func(r record) error {
			if r.key <= last || r.body[0] != byte(r.seq) {
				t.Fatalf("%q after %q, body %v of %d", r.key, last, r.body, r.seq)
			}
			last, seen = r.key, seen+1
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if seen != n {
			t.Errorf("%d records, want %d", seen, n)
		}
	}
	if err := errors.Join(s.close(), s.close()); err != nil {
		t.Error(err)
	}
}

// TestMemory reads a layer of many names with long paths: what is in memory does not grow
// with them.
func TestMemory(t *testing.T) {
	const n = 60_000
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		for i := range n {
			h := tar.Header{Name: fmt.Sprintf("%s/%d/%07d", strings.Repeat("long", 20), i/1000, i), Typeflag: tar.TypeReg, Size: 1, Mode: 0o644}
			if tw.WriteHeader(&h) != nil {
				return
			}
			_, _ = tw.Write([]byte("x"))
		}
		w.CloseWithError(tw.Close())
	}()
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	x, err := Read(t.Context(), []Layer{{Open: func(context.Context) (io.ReadCloser, error) { return r, nil }}}, Limits{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	runtime.GC()
	runtime.ReadMemStats(&now)
	t.Logf("%d paths, %d runs on disk, %d MiB held", x.Files, len(x.s.runs), (int64(now.HeapAlloc)-int64(before.HeapAlloc))>>20)
	if x.Files < n || len(x.s.runs) == 0 {
		t.Errorf("%d paths, %d runs", x.Files, len(x.s.runs))
	}
	if held := int64(now.HeapAlloc) - int64(before.HeapAlloc); held > 40<<20 {
		t.Errorf("%d MiB held", held>>20)
	}
}

func TestMarksAreTheWorkers(t *testing.T) {
	x := indexOf(t, layerOf(t, fileOf("etc/a", "text"), tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "etc/a"}))
	key := bytes.Repeat([]byte{1}, 32)
	marks, err := x.Marks(t.Context(), key)
	if err != nil || !slices.IsSorted(marks) {
		t.Fatalf("%v, %v", marks, err)
	}
	if len(marks) != 2 { // implied folders have no mark
		t.Errorf("%d marks", len(marks))
	}
	m, _ := known.NewMarker(key)
	if !slices.Contains(marks, m.Mark(known.File{Path: "/etc/a", Type: known.Regular, Mode: 0o644, Size: 4, MTime: epoch.Unix(), SHA256: sha256.Sum256([]byte("text"))})) ||
		!slices.Contains(marks, m.Mark(known.File{Path: "/l", Type: known.Symlink, Link: "etc/a"})) {
		t.Error("the worker would not know these files")
	}
	x.Files = known.Most + 1
	if _, err := x.Marks(t.Context(), key); !errors.Is(err, ErrLimit) {
		t.Errorf("too many files: %v", err)
	}
}

// FuzzLayer gives any bytes as a layer: an index or an error, never a panic, and whatever comes
// out is sorted and inside the root.
func FuzzLayer(f *testing.F) {
	for _, l := range []Layer{layerOf(f, fileOf("a/b", "x"), fileOf(".wh.a", ""), fileOf("a/.wh..wh..opq", "")), layerOf(f, fileOf("../x", ""), dirOf("/"))} {
		r, _ := l.Open(f.Context())
		b, _ := io.ReadAll(r)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := Read(t.Context(), []Layer{bytesLayer(b), bytesLayer(b)}, Limits{Dir: t.TempDir(), Bytes: 1 << 22})
		if err != nil {
			return
		}
		defer x.Close()
		list(t, x)
	})
}
