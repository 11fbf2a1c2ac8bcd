package report_test

import (
	"bytes"
	"os"
	"testing"

	"irkit.dev/irkit/evidence/report"
)

func TestLook(t *testing.T) {
	var b bytes.Buffer
	if err := report.Write(t.Context(), fixture(t), &b, report.Options{Lang: "en"}); err != nil {
		t.Fatal(err)
	}
	os.WriteFile("/tmp/vgw/x.html", b.Bytes(), 0o600)
}
