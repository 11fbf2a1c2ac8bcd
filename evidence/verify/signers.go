package verify

import (
	"bytes"
	"encoding/base64"
	"path"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// trusted looks for a line of an allowed_signers file (ssh-keygen(1)) that lets key sign in
// namespace at that time, and returns its principals. Lines of certificate authorities,
// and lines with an option that is not known here, let nobody sign.
func trusted(signers []byte, key ssh.PublicKey, namespace string, at time.Time) (principals string, ok bool) {
	for line := range bytes.Lines(signers) {
		fields := words(strings.TrimSpace(string(line)))
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		options, typ, blob := fields[1], fields[2], ""
		if len(fields) > 3 {
			blob = fields[3]
		}
		if known, err := base64.StdEncoding.DecodeString(typ); err == nil && len(known) > 0 && bytes.HasPrefix(known, []byte{0, 0, 0}) {
			options, typ, blob = "", fields[1], fields[2] // no options
		}
		raw, err := base64.StdEncoding.DecodeString(blob)
		if err != nil || typ != key.Type() || !bytes.Equal(raw, key.Marshal()) {
			continue
		}
		if permits(options, namespace, at) {
			return strings.Trim(fields[0], `"`), true
		}
	}
	return "", false
}

// words splits at blanks outside double quotes.
func words(s string) []string {
	quoted := false
	return strings.FieldsFunc(s, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t')
	})
}

// permits reads the options of a line.
func permits(options, namespace string, at time.Time) bool {
	quoted := false
	for opt := range strings.FieldsFuncSeq(options, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && r == ','
	}) {
		name, value, _ := strings.Cut(opt, "=")
		value = strings.Trim(value, `"`)
		ok := false
		switch strings.ToLower(name) {
		case "namespaces":
			ok = matchList(namespace, value)
		case "valid-after":
			t, good := signerTime(value)
			ok = good && !at.Before(t)
		case "valid-before":
			t, good := signerTime(value)
			ok = good && !at.After(t)
		}
		if !ok {
			return false
		}
	}
	return true
}

// matchList is OpenSSH's pattern list: comma-separated, * and ?, ! to refuse.
func matchList(s, patterns string) bool {
	found := false
	for p := range strings.SplitSeq(patterns, ",") {
		p, no := strings.CutPrefix(p, "!")
		// path.Match knows more than * and ?, and does not let * pass a slash.
		escaped := strings.NewReplacer(`\`, `\\`, "[", `\[`, "/", "\x00").Replace(p)
		if ok, err := path.Match(escaped, strings.ReplaceAll(s, "/", "\x00")); err != nil || !ok {
			continue
		}
		if no {
			return false
		}
		found = true
	}
	return found
}

// signerTime reads YYYYMMDD[HHMM[SS]][Z]; without Z it is local time.
func signerTime(s string) (time.Time, bool) {
	zone := time.Local
	if rest, ok := strings.CutSuffix(s, "Z"); ok {
		s, zone = rest, time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil && len(s) == len(layout) {
			return t, true
		}
	}
	return time.Time{}, false
}
