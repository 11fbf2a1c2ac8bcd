package bag

import (
	"fmt"
	"strings"
)

// bagInfo is bag-info.txt: reserved names of RFC 8493, section 2.2.2, and irkit's own.
func bagInfo(id string, info Info, s Sealed) []byte {
	var b strings.Builder
	put := func(label, value string) {
		if value = oneLine(value); value != "" {
			fmt.Fprintf(&b, "%s: %s\n", label, value)
		}
	}
	put("Source-Organization", info.Organization)
	put("Contact-Name", info.ContactName)
	put("Contact-Email", info.ContactEmail)
	put("External-Description", info.Description)
	put("External-Identifier", id)
	put("Internal-Sender-Identifier", info.Case)
	put("Bagging-Date", s.At.Format("2006-01-02"))
	put("Payload-Oxum", fmt.Sprintf("%d.%d", s.Bytes, s.Files))
	put("Bag-Software-Agent", info.Software)
	put("Irkit-Format", "1")
	put("Irkit-Sealed", s.At.Format("2006-01-02T15:04:05.000000000Z"))
	put("Irkit-Entries", fmt.Sprint(s.Entries))
	put("Irkit-Custody-Records", fmt.Sprint(s.Records))
	put("Irkit-Custody-Head", s.Head.Hex())
	put("Irkit-Signing-Key", s.Fingerprint)
	put("Irkit-Classification", info.Classification)
	put("Irkit-Legal-Hold", info.LegalHold)
	if e := info.Earlier; e != nil {
		put("Irkit-Earlier-Bundle", e.Bundle)
		put("Irkit-Earlier-Seal", e.Seal)
		put("Irkit-Earlier-Custody-Head", e.Head)
	}
	return []byte(b.String())
}

// oneLine keeps a value from becoming another field.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u0085' || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	return strings.TrimSpace(s)
}
