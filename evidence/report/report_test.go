package report_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"golang.org/x/net/html"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/report"
)

func write(t testing.TB, bag fs.FS) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(t.Context(), bag, &b, report.Options{Lang: "en"}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// page is what a browser makes of the report.
type page struct {
	text     string // all of it, spaces as they stand
	sections map[string]string
	policy   string
}

// safe is what every report must be, whatever is in the bag: of our own elements and attributes
// only, with a policy that matches its style, and nothing in it that cannot be seen.
func safe(t testing.TB, src string) page {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(src))
	if err != nil {
		t.Fatal(err)
	}
	elements := strings.Fields("html head meta title style body header main section footer h1 h2 h3 h4 p strong ul li dl dt dd div span table caption thead tbody tr th td details summary pre code figure figcaption svg line text circle")
	attributes := strings.Fields("lang charset http-equiv content name class id role aria-label aria-labelledby scope colspan tabindex viewbox x y x1 x2 y1 y2 cx cy r dy text-anchor")
	p := page{sections: map[string]string{}}
	var style string
	for n := range doc.Descendants() {
		switch n.Type {
		case html.ElementNode:
			if !slices.Contains(elements, n.Data) {
				t.Errorf("element %s", n.Data)
			}
			for _, a := range n.Attr {
				if !slices.Contains(attributes, strings.ToLower(a.Key)) {
					t.Errorf("attribute %s of %s", a.Key, n.Data)
				}
				if a.Key == "class" && strings.ContainsAny(a.Val, "<>\"'&") {
					t.Errorf("class %q", a.Val)
				}
			}
			switch {
			case n.Data == "style":
				style += n.FirstChild.Data
			case n.Data == "meta" && attr(n, "http-equiv") != "":
				p.policy += attr(n, "content")
			case n.Data == "section":
				p.sections[attr(n, "aria-labelledby")] = text(n)
			}
		case html.CommentNode:
			t.Errorf("comment %q", n.Data)
		}
	}
	sum := sha256.Sum256([]byte(style))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; img-src data:; base-uri 'none'; form-action 'none'"
	if p.policy != want {
		t.Errorf("policy %q\nwant   %q", p.policy, want)
	}
	if strings.Contains(style, "url(") || strings.Contains(style, "@import") {
		t.Error("style loads something")
	}
	p.text = text(doc)
	odd := func(r rune) bool { return r != '\n' && r != '\u202f' && !unicode.IsPrint(r) }
	if i := strings.IndexFunc(p.text, odd); i >= 0 {
		t.Errorf("page holds what is not seen: %.120q", p.text[max(0, i-60):])
	}
	return p
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// text is what stands in n, with a space after each cell.
func text(n *html.Node) string {
	var b strings.Builder
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			b.WriteString(n.Data)
		}
		for c := range n.ChildNodes() {
			walk(c)
		}
		if slices.Contains([]string{"td", "th", "dd", "dt", "li", "p", "h3", "text"}, n.Data) {
			b.WriteByte(' ')
		}
	}
	walk(n)
	return b.String()
}

func has(t *testing.T, where, text string, want ...string) {
	t.Helper()
	flat := strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\n' }), " ")
	for _, w := range want {
		if !strings.Contains(flat, w) {
			t.Errorf("%s lacks %q:\n%.2000s", where, w, flat)
		}
	}
}

func TestPage(t *testing.T) {
	p := safe(t, write(t, fixture(t)))
	has(t, "verdict", p.sections["verdict"], "CONTAINED", "Outbound, from the target", "+0.412 s", "2026-11-22 03:14:07.532 UTC",
		"New connections stopped +0.431 s", "NetworkPolicy held by itself +1.650 s", "outbound: 4 of 4 probe targets", "Process beside the target started")
	has(t, "facts", p.sections["facts"], "inc-42", "prod/web-0", "4f2a9c11-0c3d-4b7e-8d0e-1f2a3b4c5d6e", "7d1c0f3e-5a1b-4d5e-9a57-0f3f4d1c2b3a", "ana on laptop-7 · cluster user ana@example.com",
		"policy IR-7", "containment of incident 42", "duty manager", "irkit 0.1.0 (abc1234)", "registry.example/proxy:2", "add -14 ms to the API server's times")
	has(t, "changes", p.sections["done"], "done create NetworkPolicy/irkit-inc-42 in prod", `"app": "web"`, "failed patch Node/worker-2", "is forbidden", "Stays for good: an ephemeral container stays in the pod's spec.",
		"irkit release takes it back.", "There is nothing to take back.", "the agent's own process shows")
	has(t, "measured", p.sections["measured"], "measured through a pinhole", "10.0.1.1 8080 CNI host address", "3\u202f120", "203.0.113.9 443 37", "udp 10.96.0.10 53 9", "dropped 1\u202f480 packets", "no answer: timeout")
	has(t, "forecast", p.sections["forecast"], "starts a replacement at once", "refused", "live 30 s")
	has(t, "processes", p.sections["processes"], "└ 42", "executable deleted", "name is a disguise", "runs from memory (memfd)", "irkit's own", "1000 → 0", "asks for an explanation: 2")
	has(t, "connections", p.sections["connections"], "ESTABLISHED 10.0.1.7:40122 203.0.113.9:443 42 kworker/0:1 184\u202f320 912 both", "packet raw", "Unix sockets, in the artifact only: 1")
	has(t, "completeness", p.sections["complete"], "the pod app c0 proxy c1", "collected, empty", "truncated 4.2 KiB stream ended before its end record", "left out volumes are copied", "impossible container has no running process", "not planned")
	has(t, "entries", p.sections["entries"], "6 entries", "data/01-volatile/0001-c0-processes.jsonl", evidence.Digest{0xab, 0xcd}.Hex(), "no bytes", "container has not run before")
	has(t, "custody", p.sections["custody"], "11 records", "Session opened · playbook contain", "Containment, failed · patch Node/worker-2 (cordon)", "API audit a0b1c2d0", strings.Repeat("9f", 32))
	has(t, "verify", p.sections["verify"], "VERIFY.txt", "irkit verify", "irkit-evidence@v1", "SHA256:Zm9vYmFyYmF6")
	if p.sections["gaps"] != "" {
		t.Errorf("whole bag has gaps: %s", p.sections["gaps"])
	}
	if strings.Contains(p.sections["processes"], "<nil>") || strings.Contains(p.text, "0xc0") || strings.Contains(p.text, "%!") {
		t.Error("page shows a Go value")
	}
}

func TestSameTwice(t *testing.T) {
	bag := fixture(t)
	if write(t, bag) != write(t, bag) {
		t.Error("the same bag gives two pages")
	}
}

// T15 to T17: what the target chose is text, and what cannot be seen is marked.
func TestHostile(t *testing.T) {
	p := safe(t, write(t, fixture(t)))
	has(t, "processes", p.sections["processes"], `</td><script>alert(1)</script>`, `\u{202e}gnp.exe\u{200b}\x1b[2J`, `\x07\r\u{009b}`)
	// And everywhere else where a string may stand.
	bag := fixture(t)
	for name, f := range bag {
		var out []byte
		for l := range bytes.Lines(f.Data) {
			var v any
			if err := json.Unmarshal(l, &v); err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(poison(v, name == "data/01-volatile/0001-c0-processes.jsonl" || strings.HasPrefix(name, "data/01-volatile/0002")))
			if err != nil {
				t.Fatal(err)
			}
			out = append(append(out, b...), '\n')
		}
		bag[name] = &fstest.MapFile{Data: out}
	}
	p = safe(t, write(t, bag))
	if n := strings.Count(p.text, "alert(1)"); n < 60 {
		t.Errorf("hostile text stands %d times on the page; the test does not reach what it should", n)
	}
}

// poison adds the hostile text to every string that is neither a time, an address, a digest,
// nor a name by which the page finds something.
func poison(v any, all bool) any {
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			if !slices.Contains([]string{"time_utc", "at", "started", "finished", "measured", "installed", "established_stopped", "new_stopped", "policy_held", "held", "local", "node", "apiserver_date_header",
				"addr", "peer", "prefix", "sha256", "exe_sha256", "path", "kind", "opened", "start_time", "ordinal", "took_ns"}, k) || k == "local" && all {
				x[k] = poison(e, all)
			}
		}
	case []any:
		for i := range x {
			x[i] = poison(x[i], all)
		}
	case string:
		return x + hostile
	}
	return v
}

// Whatever is missing or broken is said; the rest of the page stands.
func TestGaps(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(fixture(t))) {
		bag := fixture(t)
		delete(bag, name)
		p := safe(t, write(t, bag))
		has(t, "without "+name, p.sections["gaps"], name, "is not in this bundle")
		for what, junk := range map[string]string{"empty": "", "junk": "\x00{\n[", "truncated": string(fixture(t)[name].Data[:10]), "of another type": "[[1]]\n", "null": "null\n"} {
			bag[name] = &fstest.MapFile{Data: []byte(junk)}
			p := safe(t, write(t, bag))
			if what == "junk" && !strings.Contains(p.sections["gaps"], name) {
				t.Errorf("%s of junk is not said", name)
			}
		}
	}
	p := safe(t, write(t, fstest.MapFS{}))
	has(t, "empty bag", p.text, "NO VERDICT", "Case not recorded", "The target is not recorded", "Nothing here says that the target is contained", "No change to the cluster is recorded",
		"has no provenance", "No process table is shown", "the list of entries) is not in this bundle")
}

func TestWithoutMeta(t *testing.T) {
	bag := fixture(t)
	delete(bag, evidence.EvidenceJSON)
	p := safe(t, write(t, bag))
	has(t, "facts from the custody log", p.sections["facts"], "inc-42", "irkit-inc-42-01k2", "prod/web-0", "ana on laptop-7", "policy IR-7", "irkit 0.1.0")
}

func TestVerdicts(t *testing.T) {
	for state, class := range map[evidence.State]string{evidence.Contained: "ok", evidence.ContainedNewOnly: "warn", evidence.Partial: "warn",
		evidence.Unverified: "unknown", evidence.Failed: "bad", "EXCELLENT": "bad", "": "bad"} {
		bag := fixture(t)
		bag[evidence.VerdictJSON] = lines(t, evidence.Verdict{State: state, Layers: []evidence.LayerVerdict{{Layer: "netpol", Applied: true}}})
		src := write(t, bag)
		if !strings.Contains(src, `<div class="verdict `+class+`">`) {
			t.Errorf("verdict %q is not shown as %s", state, class)
		}
		p := safe(t, src)
		has(t, "verdict", p.sections["verdict"], "not measured to hold", "not seen to stop")
	}
	bag := fixture(t)
	no := false
	bag[evidence.VerdictJSON] = lines(t, evidence.Verdict{State: evidence.Contained, PolicyEnforced: &no, Layers: []evidence.LayerVerdict{{Layer: "netpol", Applied: true}}})
	has(t, "verdict", safe(t, write(t, bag)).sections["verdict"], "NOT ENFORCED")
}

func TestReleased(t *testing.T) {
	bag := fixture(t)
	c := evidence.Change{ID: "release/netpol/create/part", Layer: "netpol", Op: evidence.OpDelete}
	r := lines(t, evidence.Record{Action: evidence.ActReleased, Phase: evidence.Did, Change: &c},
		evidence.Record{Action: evidence.ActIsolated, Phase: evidence.Intend, Change: &evidence.Change{ID: "x", Op: evidence.OpPatch, Why: "killed in the middle"}})
	bag[evidence.CustodyJSONL].Data = append(bag[evidence.CustodyJSONL].Data, r.Data...)
	has(t, "changes", safe(t, write(t, bag)).sections["done"], "undone create NetworkPolicy", "begun; outcome not recorded patch", "Taken back by irkit release.")
}

// Restricted payload that is encrypted in the bundle is not on its page either.
func TestEncrypted(t *testing.T) {
	bag := fixture(t)
	var m evidence.Meta
	if err := json.Unmarshal(bag[evidence.EvidenceJSON].Data, &m); err != nil {
		t.Fatal(err)
	}
	m.Privacy.Encrypted, m.Privacy.Recipients = true, []string{"age1example"}
	bag[evidence.EvidenceJSON] = lines(t, m)
	p := safe(t, write(t, bag))
	if strings.Contains(p.text, "kworker") || strings.Contains(p.text, "Restricted.") {
		t.Error("page shows restricted values of an encrypted bundle")
	}
	has(t, "gaps", p.sections["gaps"], "is encrypted in this bundle")
	has(t, "facts", p.sections["facts"], "encrypted to age1example")
}

// Lists of any length stay a page that opens.
func TestLong(t *testing.T) {
	bag := fixture(t)
	var entries, procs, records []any
	for i := range 6_000 {
		entries = append(entries, evidence.Entry{ID: fmt.Sprintf("%05d", i+10), Kind: "recovered", Ordinal: "c0", Status: evidence.Collected, Parts: []evidence.Part{{Path: "data/x"}}})
		records = append(records, evidence.Record{Seq: i, Action: evidence.ActCaptured, Note: "x"})
	}
	for i := range 21_000 {
		procs = append(procs, map[string]any{"pid": i + 2, "ppid": i + 1, "comm": "deep"})
	}
	e := lines(t, entries...)
	bag[evidence.EntriesJSONL].Data = append(bag[evidence.EntriesJSONL].Data, e.Data...)
	big := lines(t, procs...)
	bag["data/01-volatile/0001-c0-processes.jsonl"] = big
	bag[evidence.EntriesJSONL].Data = bytes.Replace(bag[evidence.EntriesJSONL].Data, []byte(`"encoding"`), []byte(`"x"`), 1)
	bag[evidence.CustodyJSONL] = lines(t, records...)
	var first evidence.Entry
	head, tail, _ := bytes.Cut(bag[evidence.EntriesJSONL].Data, []byte("\n"))
	if err := json.Unmarshal(head, &first); err != nil {
		t.Fatal(err)
	}
	first.Size = int64(len(big.Data))
	bag[evidence.EntriesJSONL].Data = append(lines(t, first).Data, tail...)
	src := write(t, bag)
	if len(src) > 8<<20 {
		t.Errorf("page of %d bytes", len(src))
	}
	p := safe(t, src)
	has(t, "entries", p.sections["entries"], "6\u202f006 entries", "Entries 101 to 600", "2\u202f906 more in meta/entries.jsonl")
	has(t, "processes", p.sections["processes"], "Processes 101 to 600", "more in data/01-volatile")
	has(t, "gaps", p.sections["gaps"], "longer than what this page reads")
}

// A table that says that a process is its own ancestor is still shown whole.
func TestCircle(t *testing.T) {
	bag := fixture(t)
	var ps []any
	for _, x := range [][2]int{{1, 1}, {2, 3}, {3, 2}, {4, 3}, {5, 99}} {
		ps = append(ps, map[string]any{"pid": x[0], "ppid": x[1], "comm": fmt.Sprintf("name-%d", x[0])})
	}
	bag["data/01-volatile/0001-c0-processes.jsonl"] = lines(t, ps...)
	p := safe(t, write(t, bag))
	for i := 1; i <= 5; i++ {
		if n := strings.Count(p.sections["processes"], fmt.Sprintf("[name-%d]", i)); n != 1 {
			t.Errorf("process %d is shown %d times", i, n)
		}
	}
}

func TestRefused(t *testing.T) {
	var b bytes.Buffer
	if err := report.Write(t.Context(), fixture(t), &b, report.Options{Lang: "tlh"}); err == nil || b.Len() != 0 {
		t.Errorf("unknown language: %v, %d bytes", err, b.Len())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := report.Write(ctx, fixture(t), &b, report.Options{Lang: "en"}); !errors.Is(err, context.Canceled) || b.Len() != 0 {
		t.Errorf("ended context: %v, %d bytes", err, b.Len())
	}
}

// No bytes in any file of a bag make a page that is not safe.
func FuzzWrite(f *testing.F) {
	bag := fixture(f)
	names := slices.Sorted(maps.Keys(bag))
	for i, n := range names {
		f.Add(i, bag[n].Data)
	}
	f.Add(0, []byte(`{"bundle_id":"<b>\u202e","target":{"pod":"\u0000"}}`))
	f.Fuzz(func(t *testing.T, i int, b []byte) {
		if i < 0 {
			i = -(i + 1)
		}
		bag := maps.Clone(bag)
		bag[names[i%len(names)]] = &fstest.MapFile{Data: b}
		safe(t, write(t, bag))
	})
}
