package bag

import (
	_ "embed"
	"fmt"
	"strings"
	"time"

	"irkit.dev/irkit/evidence"
)

//go:embed verify.txt
var verifyWords string

//go:embed verify.sh
var verifyBlock string

// verifyText is VERIFY.txt: the recipe for stock tools, for this bundle. What is put into
// the program is the id alone, which idForm keeps free of quotes.
func verifyText(id string, info Info, s Sealed) []byte {
	r := strings.NewReplacer(
		"@ID@", id,
		"@CASE@", oneLine(info.Case),
		"@AT@", s.At.Format(time.RFC3339),
		"@KEY@", s.Fingerprint,
		"@RECORDS@", fmt.Sprint(s.Records),
		"@HEAD@", s.Head.Hex(),
		"@NAMESPACE@", evidence.SealNamespace,
	)
	return []byte(r.Replace(verifyWords) + strings.NewReplacer("@ID@", id, "@NAMESPACE@", evidence.SealNamespace).Replace(verifyBlock))
}
