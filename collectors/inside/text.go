//go:build linux

package inside

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// text is bytes as a JSON string can carry them, and in base64 too where it cannot:
// encoding/json would turn what is not UTF-8 into U+FFFD and lose it.
func text(b string) (string, string) {
	if utf8.ValidString(b) {
		return b, ""
	}
	return strings.ToValidUTF8(b, "\ufffd"), base64.StdEncoding.EncodeToString([]byte(b))
}
