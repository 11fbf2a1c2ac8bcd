package custody

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxLine is the longest line that a log takes, without its LF.
const MaxLine = 16 << 20

// Line is v as one line of a bundle's JSON files, without LF: compact, keys sorted at
// every depth, every byte printable ASCII. Numbers keep the digits they came with. What
// is not UTF-8 in a string becomes U+FFFD, so exact bytes travel as base64.
func Line(v any) ([]byte, error) {
	raw, err := marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var loose any
	if err := dec.Decode(&loose); err != nil {
		return nil, err
	}
	if raw, err = marshal(loose); err != nil {
		return nil, err
	}
	line := ascii(raw)
	if len(line) > MaxLine {
		return nil, fmt.Errorf("line of %d bytes: more than the %d that fit", len(line), MaxLine)
	}
	return line, nil
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ascii escapes what is not printable ASCII in JSON that is valid UTF-8. Such bytes
// stand only inside strings, where the escape means the same.
func ascii(in []byte) []byte {
	if bytes.IndexFunc(in, func(r rune) bool { return r >= 0x7f }) < 0 {
		return in
	}
	out := make([]byte, 0, len(in)+len(in)/4)
	for i := 0; i < len(in); {
		r, n := utf8.DecodeRune(in[i:])
		switch {
		case r < 0x7f:
			out = append(out, in[i])
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += n
	}
	return out
}
