package bag

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"irkit.dev/irkit/evidence"
)

var (
	kindForm    = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	ordinalForm = regexp.MustCompile(`^([cie][0-9]{1,4}|pod)$`)
	extForm     = regexp.MustCompile(`^[a-z0-9]+([.-][a-z0-9]+)*$`)
	sections    = []evidence.Section{
		evidence.Volatile, evidence.Logs, evidence.Kubernetes,
		evidence.Filesystem, evidence.Volumes, evidence.Outside,
	}
)

// Texts that the target may have chosen are cut to this in an entry.
const (
	maxText  = 4 << 10
	maxNotes = 100
	maxOrig  = 64 << 10
)

// check refuses what cannot be named or told in the bundle.
func check(a evidence.Artifact, reader bool) error {
	switch {
	case len(a.Kind) > 48 || !kindForm.MatchString(a.Kind):
		return fmt.Errorf("kind %q is not [a-z0-9-]", a.Kind)
	case !ordinalForm.MatchString(a.Ordinal):
		return fmt.Errorf("ordinal %q is not c0, i0, e0 or pod", a.Ordinal)
	case !slices.Contains(sections, a.Section):
		return fmt.Errorf("section %q is none of the bundle's", a.Section)
	case len(a.OrigName) > maxOrig:
		return fmt.Errorf("original name of %d bytes", len(a.OrigName))
	case a.Absent == nil && (len(a.Ext) > 24 || !extForm.MatchString(a.Ext)):
		return fmt.Errorf("extension %q is not [a-z0-9.-]", a.Ext)
	case a.Absent == nil && !reader:
		return errors.New("no reader, and no reason why it is absent")
	case a.Absent != nil && reader:
		return errors.New("absent, and yet with a reader")
	case a.Absent != nil && a.Absent.Status != evidence.LeftOut && a.Absent.Status != evidence.Impossible:
		return fmt.Errorf("absent with status %q", a.Absent.Status)
	case a.Absent != nil && a.Absent.Reason == "":
		return errors.New("absent without a reason")
	}
	return nil
}

// begin is the entry of an artifact before its bytes.
func (w *Writer) begin(index int, a evidence.Artifact) evidence.Entry {
	e := evidence.Entry{
		ID: entryID(index), Kind: a.Kind, Section: a.Section, Container: clip(a.Container), Ordinal: a.Ordinal,
		Parts: []evidence.Part{}, MediaType: clip(a.MediaType),
		Source: evidence.Source{How: clip(a.Source.How), Detail: clip(a.Source.Detail), Image: clip(a.Source.Image)},
		Trust:  a.Trust, Class: a.Class, Volatility: a.Volatility, Started: a.Started.UTC().Round(0),
	}
	if a.Started.IsZero() {
		e.Started = w.now()
	}
	if len(a.OrigName) > 0 {
		e.OrigName = strconv.QuoteToASCII(string(a.OrigName))
		e.OrigB64 = base64.StdEncoding.EncodeToString(a.OrigName)
	}
	if a.Absent != nil {
		e.Status, e.Reason, e.Finished = a.Absent.Status, clip(a.Absent.Reason), w.now()
	}
	return e
}

func entryID(index int) string { return fmt.Sprintf("%04d", index) }

// clip keeps a text to a length that an entry can carry.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + fmt.Sprintf("… (%d bytes in all)", len(s))
}

// reason is an error as one line of an entry.
func reason(err error) string { return clip(strings.ReplaceAll(err.Error(), "\n", "; ")) }

func clipAll(notes []string) []string {
	var out []string
	for i, n := range notes {
		if i == maxNotes {
			return append(out, fmt.Sprintf("… (%d notes in all)", len(notes)))
		}
		out = append(out, clip(n))
	}
	return out
}
