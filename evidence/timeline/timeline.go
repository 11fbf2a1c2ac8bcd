// Package timeline makes a bag's events readable for timeline tools, from the bag's own
// files only.
package timeline

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/payload"
)

// maxProcesses bounds the process starts of one table.
const maxProcesses = 200_000

// Event is one line, in Timesketch's words: message, datetime and timestamp_desc are
// required, the datetime with its offset, timestamp in microseconds.
type Event struct {
	Message   string   `json:"message"`
	Datetime  string   `json:"datetime"`
	Timestamp int64    `json:"timestamp"`
	Desc      string   `json:"timestamp_desc"`
	Type      string   `json:"data_type"` // irkit:custody, irkit:verdict, irkit:process
	Namespace string   `json:"namespace,omitempty"`
	Pod       string   `json:"pod,omitempty"`
	Hostname  string   `json:"hostname,omitempty"` // the node
	Container string   `json:"container,omitempty"`
	PID       int      `json:"pid,omitempty"`
	PPID      int      `json:"ppid,omitempty"`
	Path      string   `json:"evidence_path,omitempty"`
	SHA256    string   `json:"evidence_sha256,omitempty"`
	Tag       []string `json:"tag"`
}

// Write writes timeline/timesketch.jsonl: the custody log, what the verdict measured, and when
// the target's processes began, by time. A file that the bag has not adds nothing; one
// that cannot be read adds what could be read, and is an error at the end.
func Write(bag fs.FS, w io.Writer) error {
	c := &collection{bag: bag}
	faults := []error{c.custody(), c.verdict(), c.processes()}
	slices.SortStableFunc(c.events, func(a, b Event) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	for _, e := range c.events {
		e.Namespace, e.Pod, e.Hostname = c.target.Namespace, c.target.Pod, c.target.Node
		if err := enc.Encode(e); err != nil {
			return fmt.Errorf("write timeline: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write timeline: %w", err)
	}
	return errors.Join(faults...)
}

type collection struct {
	bag    fs.FS
	target evidence.Target
	events []Event
}

// add keeps an event that has a time. Timesketch drops a line that it cannot date
// without a word.
func (c *collection) add(t time.Time, e Event) {
	if t.IsZero() || t.Year() < 1970 || t.Year() > 9999 {
		return
	}
	t = t.UTC()
	e.Datetime, e.Timestamp = t.Format("2006-01-02T15:04:05.000000+00:00"), t.UnixMicro()
	e.Tag = []string{"irkit"}
	c.events = append(c.events, e)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (c *collection) custody() error {
	_, _, err := payload.File(c.bag, evidence.CustodyJSONL, 0, func(r evidence.Record) {
		if r.Target != nil && c.target == (evidence.Target{}) {
			c.target = *r.Target
		}
		text := []string{string(r.Action)}
		if r.Phase != "" {
			text = append(text, string(r.Phase))
		}
		if r.Change != nil {
			text = append(text, r.Change.Layer, string(r.Change.Op), r.Change.Object.String()+":", r.Change.Why)
		}
		text = append(text, r.Step, r.Note)
		c.add(r.Time, Event{
			Message: fmt.Sprintf("irkit record %d: %s", r.Seq, visible(strings.Join(strings.Fields(strings.Join(text, " ")), " "))),
			Desc:    "Custody Record", Type: "irkit:custody", Path: evidence.CustodyJSONL,
		})
	})
	return ignoreAbsent(err)
}

func (c *collection) verdict() error {
	var v evidence.Verdict
	if err := payload.JSON(c.bag, evidence.VerdictJSON, &v); err != nil {
		return ignoreAbsent(err)
	}
	add := func(t *time.Time, message string) {
		if t != nil {
			c.add(*t, Event{Message: message, Desc: "Measured", Type: "irkit:verdict", Path: evidence.VerdictJSON})
		}
	}
	add(&v.Started, "containment began")
	add(v.EstablishedStopped, "established connections last seen to move")
	add(v.NewStopped, "new connections stopped")
	add(v.PolicyHeld, "NetworkPolicy by itself first seen to hold")
	add(&v.Measured, "verdict "+visible(string(v.State)))
	if v.Cut != nil {
		add(&v.Cut.Installed, "cut in force in the pod's network namespace")
	}
	return nil
}

// process is what is read of a line of the artifact processes.
type process struct {
	PID     int       `json:"pid"`
	PPID    int       `json:"ppid"`
	Ticks   uint64    `json:"start_ticks"`
	Comm    string    `json:"comm"`
	Cmdline []string  `json:"cmdline"`
	Exe     string    `json:"exe"`
	Deleted bool      `json:"exe_deleted"`
	Memfd   bool      `json:"memfd"`
	Start   time.Time `json:"start_time"`
}

func (c *collection) processes() error {
	var tables []evidence.Entry
	_, _, err := payload.File(c.bag, evidence.EntriesJSONL, 0, func(e evidence.Entry) {
		if e.Kind == "processes" && len(e.Parts) > 0 {
			tables = append(tables, e)
		}
	})
	faults := []error{ignoreAbsent(err)}
	for _, e := range tables {
		seen := map[[2]uint64]bool{} // the table may hold two readings
		_, _, err := payload.Entry(c.bag, e, maxProcesses, func(p process) {
			if id := [2]uint64{uint64(p.PID), p.Ticks}; !seen[id] {
				seen[id] = true
				c.add(p.Start, Event{
					Message: started(p), Desc: "Process Start Time", Type: "irkit:process", Container: e.Container,
					PID: p.PID, PPID: p.PPID, Path: e.Parts[0].Path, SHA256: e.Parts[0].SHA256.Hex(),
				})
			}
		})
		if !errors.Is(err, payload.ErrEncoded) { // encrypted: its times stay with who has the key
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func started(p process) string {
	name := p.Exe
	if name == "" {
		name = p.Comm
	}
	text := fmt.Sprintf("process start: %s pid %d ppid %d", visible(name), p.PID, p.PPID)
	if p.Deleted {
		text += ", executable deleted"
	}
	if p.Memfd {
		text += ", runs from memory"
	}
	if len(p.Cmdline) > 0 {
		text += ": " + visible(strings.Join(p.Cmdline[:min(len(p.Cmdline), 64)], " "))
	}
	return text
}

// visible shows control, bidirectional and zero-width characters as escapes.
func visible(s string) string {
	if len(s) > 4096 {
		s = s[:4096] + "…"
	}
	q := strconv.Quote(s)
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}
