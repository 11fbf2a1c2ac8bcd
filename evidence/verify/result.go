package verify

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"irkit.dev/irkit/evidence"
)

// Answer is one of the two answers.
type Answer string

// Answers.
const (
	OK         Answer = "ok"
	NotChecked Answer = "not checked" // origin alone: no signers were given
	Failed     Answer = "failed"
)

// Finding is one thing that does not hold. Path and Text are printable ASCII.
type Finding struct {
	Code string `json:"code"` // stable, kebab-case
	Path string `json:"path,omitempty"`
	Text string `json:"text"`
	// Warning marks what a bag may hold though it should not; it does not fail.
	Warning bool `json:"warning,omitempty"`
}

// String is one line for people.
func (f Finding) String() string {
	if f.Path == "" {
		return f.Text
	}
	return f.Path + ": " + f.Text
}

// Options of Bundle.
type Options struct {
	// Signers is an allowed_signers file (ssh-keygen(1)) that the verifier brings. Empty:
	// origin is not checked.
	Signers string
	// Now is when validity periods of signers count; nil: the system's clock.
	Now func() time.Time
	// Beside is the folder where the chain goes on after the seal; empty: the one that
	// holds the bundle.
	Beside string
	// Deep also reads every entry as a whole: parts joined, zstd unpacked and compared
	// with what was compressed. It takes as long as the bundle is big when unpacked.
	Deep bool
}

// Result is what was found.
type Result struct {
	Bundle      string                  `json:"bundle_id"` // as the bundle calls itself
	Case        string                  `json:"case_id"`
	Integrity   Answer                  `json:"integrity"`
	Origin      Answer                  `json:"origin"`
	OriginWhy   string                  `json:"origin_why,omitempty"`
	Principal   string                  `json:"principal,omitempty"` // of the signers file, when origin is ok
	Fingerprint string                  `json:"fingerprint,omitempty"`
	Seal        evidence.Digest         `json:"seal_sha256"`
	Head        evidence.Digest         `json:"custody_head"` // of the log inside the bundle
	LastHead    evidence.Digest         `json:"custody_last"` // with what follows beside it
	Records     int                     `json:"custody_records"`
	Later       int                     `json:"custody_later"`
	Timestamp   bool                    `json:"timestamp_present"` // it is not checked here
	Files       int                     `json:"payload_files"`
	Bytes       int64                   `json:"payload_bytes"`
	Entries     int                     `json:"entries"`
	Statuses    map[evidence.Status]int `json:"statuses"`
	Findings    []Finding               `json:"findings"`
	More        int                     `json:"more_findings,omitempty"` // beyond those listed
}

// OK says that nothing failed; origin may be not checked.
func (r Result) OK() bool { return r.Integrity == OK && r.Origin != Failed }

// Limits on what a bundle may cost. A bundle of irkit stays far below each.
const (
	maxFiles    = 1 << 18
	maxDepth    = 64
	maxPath     = 4 << 10
	maxNames    = 64 << 20  // bytes of all paths
	maxLists    = 128 << 20 // bytes of all manifests
	maxLine     = 16 << 20
	maxFindings = 1000
)

// findings collects, from several goroutines.
type findings struct {
	mu     sync.Mutex
	list   []Finding
	more   int
	failed bool
}

func (f *findings) add(code, path, format string, args ...any) {
	f.put(Finding{Code: code, Path: plain(path), Text: plain(fmt.Sprintf(format, args...))})
}

func (f *findings) warn(code, path, format string, args ...any) {
	f.put(Finding{Code: code, Path: plain(path), Text: plain(fmt.Sprintf(format, args...)), Warning: true})
}

func (f *findings) put(x Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = f.failed || !x.Warning
	if len(f.list) < maxFindings {
		f.list = append(f.list, x)
	} else {
		f.more++
	}
}

func (f *findings) sorted() []Finding {
	slices.SortStableFunc(f.list, func(a, b Finding) int {
		return strings.Compare(a.Path+"\x00"+a.Code, b.Path+"\x00"+b.Code)
	})
	return f.list
}

// plain is s for a terminal: quoted when it holds anything but printable ASCII.
func plain(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return strconv.QuoteToASCII(s)
	}
	return s
}
