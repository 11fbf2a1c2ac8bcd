package report

import (
	"fmt"
	"html"
	"html/template"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// longest is how many bytes of one value are shown; the bundle has the rest.
const longest = 2000

// visible is s as HTML: escaped, and with what cannot be seen, or moves what can, shown
// as a marked escape (Unicode Technical Report 36). Marked, so that a backslash of the
// target's own is not taken for ours.
func visible(s string) template.HTML {
	var b strings.Builder
	more := 0
	if len(s) > longest {
		cut := longest
		for cut > longest-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s, more = s[:cut], len(s)-cut
	}
	marks := 0
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			escape(&b, fmt.Sprintf(`\x%02x`, s[0]))
		case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
			if marks++; marks > 2 { // more of them cover the lines above and below
				escape(&b, fmt.Sprintf(`\u{%04x}`, r))
			} else {
				b.WriteString(html.EscapeString(s[:n]))
			}
			s = s[n:]
			continue
		case r == ' ' || unicode.IsPrint(r):
			b.WriteString(html.EscapeString(s[:n]))
		default:
			escape(&b, code(r))
		}
		marks, s = 0, s[n:]
	}
	if more > 0 {
		fmt.Fprintf(&b, `<span class="more"> … %s more bytes</span>`, grouped(int64(more)))
	}
	return template.HTML(b.String())
}

func escape(b *strings.Builder, s string) {
	b.WriteString(`<span class="esc">` + s + `</span>`)
}

func code(r rune) string {
	switch r {
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	if r < 0x80 {
		return fmt.Sprintf(`\x%02x`, r)
	}
	return fmt.Sprintf(`\u{%04x}`, r)
}

// plain is visible where no mark can stand: in the title.
func plain(s string) string {
	q := strconv.Quote(s[:min(len(s), 200)])
	return q[1 : len(q)-1]
}

// block is visible for text of many lines: its line ends stay line ends.
func block(s string) template.HTML {
	if len(s) > 20*longest {
		s = s[:20*longest] + "\n…"
	}
	var b strings.Builder
	for l := range strings.Lines(s) {
		b.WriteString(string(visible(strings.TrimSuffix(l, "\n"))) + "\n")
	}
	return template.HTML(b.String())
}

func functions() template.FuncMap {
	return template.FuncMap{
		"v": func(x any) template.HTML { return visible(fmt.Sprint(x)) }, "text": block, "plain": plain, "n": grouped, "bytes": size,
		"utc": utc, "clock": clock, "since": since, "short": short, "tone": statusTone, "word": statusWord,
	}
}

func short(digest string) string { return digest[:min(12, len(digest))] }

func utc(t time.Time) string {
	if t.IsZero() {
		return "not recorded"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "—"
	}
	return t.UTC().Format("15:04:05.000")
}

// since is how long after start t was, as people say it.
func since(start, t time.Time) string {
	if start.IsZero() || t.IsZero() {
		return "—"
	}
	d := t.Sub(start)
	sign := "+"
	if d < 0 {
		sign, d = "−", -d
	}
	switch {
	case d < 10*time.Second:
		return fmt.Sprintf("%s%.3f s", sign, d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%s%.1f s", sign, d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%s%d min %02d s", sign, int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%s%d h %02d min", sign, int(d.Hours()), int(d.Minutes())%60)
}

// grouped is a whole number, or what a pointer to one points at, with narrow spaces
// between its thousands.
func grouped(n any) string {
	if p, ok := n.(*uint64); ok && p != nil {
		n = *p
	}
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

func size(n int64) string {
	switch {
	case n < 1<<10:
		return grouped(n) + " B"
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
}
