package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/evidence/verify"
)

// tellVerified prints the two answers, and every mismatch.
func (d *door) tellVerified(c *cli.Context, r verify.Result) error {
	if asData(c) {
		if _, err := d.data(c, r); err != nil {
			return err
		}
	} else {
		d.printVerified(r)
	}
	if !r.OK() {
		return outcome{statusVerify, fmt.Errorf("bundle does not verify: integrity %s, origin %s", r.Integrity, r.Origin)}
	}
	return nil
}

func (d *door) printVerified(r verify.Result) {
	fmt.Fprintf(d.stdout, "bundle     %s\n", quote(r.Bundle))
	fmt.Fprintf(d.stdout, "integrity  %s  (%d files, %d bytes, %d entries, %d custody records, %d after the seal)\n",
		r.Integrity, r.Files, r.Bytes, r.Entries, r.Records, r.Later)
	switch r.Origin {
	case verify.OK:
		fmt.Fprintf(d.stdout, "origin     ok, signed by %s\n", quote(r.Principal))
	default:
		fmt.Fprintf(d.stdout, "origin     %s  %s\n", r.Origin, quote(r.OriginWhy))
	}
	fmt.Fprintf(d.stdout, "key        %s\n", quote(r.Fingerprint))
	fmt.Fprintf(d.stdout, "seal       %s\n", r.Seal)
	width, _ := terminal(d.stdout)
	var rows [][]string
	for _, f := range r.Findings {
		word := "FAULT"
		if f.Warning {
			word = "note"
		}
		rows = append(rows, []string{word, f.Code, quote(f.String())})
	}
	table(d.stdout, width, rows)
	if r.More > 0 {
		fmt.Fprintf(d.stdout, "  and %d more\n", r.More)
	}
	if r.Origin == verify.NotChecked {
		d.hint("compare the key above with the one that the custodian gave you by another way, or bring it with --signers")
	}
}
