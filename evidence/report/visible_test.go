package report

import (
	"html"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
)

var marks = regexp.MustCompile(`<span class="esc">([^<]*)</span>|<span class="more">[^<]*</span>`)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain text":          "plain text",
		"a<b>&\"'":            "a&lt;b&gt;&amp;&#34;&#39;",
		"a\tb\r\n":            `a<span class="esc">\t</span>b<span class="esc">\r</span><span class="esc">\n</span>`,
		"\x1b[0m":             `<span class="esc">\x1b</span>[0m`,
		`\x1b`:                `\x1b`,
		"\xff":                `<span class="esc">\xff</span>`,
		"a\u202eb":            `a<span class="esc">\u{202e}</span>b`,
		"\u200b\ufeff\u2066":  `<span class="esc">\u{200b}</span><span class="esc">\u{feff}</span><span class="esc">\u{2066}</span>`,
		"\u00a0\u2028":        `<span class="esc">\u{00a0}</span><span class="esc">\u{2028}</span>`,
		"\U000e0041":          `<span class="esc">\u{e0041}</span>`,
		"ação 日本":             "ação 日本",
		"e\u0301\u0301\u0301": "e\u0301\u0301" + `<span class="esc">\u{0301}</span>`,
	} {
		if got := string(visible(in)); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
	long := string(visible(strings.Repeat("é", 2000)))
	if !strings.Contains(long, "2\u202f000 more bytes") || len(long) > 2200 {
		t.Errorf("long value gives %d bytes, ending %q", len(long), long[len(long)-40:])
	}
}

func FuzzVisible(f *testing.F) {
	for _, s := range []string{"", "a", "<", "\x00", "\xe2\x80", "\u202e", strings.Repeat("\u0301", 10), strings.Repeat("x", 1999) + "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rest := marks.ReplaceAllString(string(visible(s)), "")
		if strings.ContainsAny(rest, "<>\"'") {
			t.Fatalf("visible(%q) leaves markup: %q", s, rest)
		}
		for _, r := range html.UnescapeString(rest) {
			if !unicode.IsPrint(r) {
				t.Fatalf("visible(%q) leaves %U", s, r)
			}
		}
	})
}

func TestSince(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{0: "+0.000 s", 412 * time.Millisecond: "+0.412 s", -time.Second: "−1.000 s", 12500 * time.Millisecond: "+12.5 s", 72 * time.Second: "+1 min 12 s", 26 * time.Hour: "+26 h 00 min"} {
		if got := since(at, at.Add(d)); got != want {
			t.Errorf("since %v = %q, want %q", d, got, want)
		}
	}
	if since(time.Time{}, at) != "—" {
		t.Error("a span without a start is given a number")
	}
}

func TestGrouped(t *testing.T) {
	for n, want := range map[any]string{0: "0", 999: "999", 1000: "1\u202f000", int64(-1234567): "-1\u202f234\u202f567", uint64(1) << 63: "9\u202f223\u202f372\u202f036\u202f854\u202f775\u202f808"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%v) = %q, want %q", n, got, want)
		}
	}
}
