package report_test

import (
	"bytes"
	"os"
	"testing"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/bag"
)

// Tables as a session stores them, compressed and in parts, are read.
func TestStoredTables(t *testing.T) {
	plain := fixture(t)
	for _, split := range []int64{0, 100} {
		w, err := bag.Create(t.Context(), t.TempDir(), "irkit-inc-42-01k2", bag.Options{SplitAt: split, Reserve: -1})
		if err != nil {
			t.Fatal(err)
		}
		for kind, name := range map[string]string{"processes": "data/01-volatile/0001-c0-processes.jsonl", "connections": "data/01-volatile/0002-c0-connections.jsonl"} {
			a := evidence.Artifact{Kind: kind, Section: evidence.Volatile, Container: "app", Ordinal: "c0", Ext: "jsonl", MediaType: "application/jsonl",
				Trust: evidence.TrustDebugger, Class: evidence.Restricted, Volatility: 10, Compress: split == 0, Source: evidence.Source{How: "agent"}}
			if _, err := w.Add(t.Context(), a, bytes.NewReader(plain[name].Data)); err != nil {
				t.Fatal(err)
			}
		}
		p := safe(t, write(t, w.Root().FS()))
		has(t, "processes", p.sections["processes"], "└ 42", "runs from memory (memfd)")
		has(t, "connections", p.sections["connections"], "ESTABLISHED 10.0.1.7:40122")
		has(t, "completeness from the entries", p.sections["complete"], "app c0", "processes collected")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A sealed bundle gives a page as well.
func TestGoldenBundle(t *testing.T) {
	p := safe(t, write(t, os.DirFS("../verify/testdata/golden-v1/irkit-golden-01kb0000000000000000000000")))
	has(t, "entries", p.sections["entries"], "data/02-logs/0004-c0-log-current.log.part0008")
	has(t, "completeness", p.sections["complete"], "collected, empty")
	has(t, "custody", p.sections["custody"], "records up to the making of this page")
}
