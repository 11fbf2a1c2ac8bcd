package report

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"irkit.dev/irkit/evidence"
)

// States of a change, as the custody log tells them.
const (
	planned = "planned, not begun"
	begun   = "begun; outcome not recorded"
	done    = "done"
	failed  = "failed"
	undone  = "undone"
)

// change is one write with what became of it.
type change struct {
	evidence.Change
	State, Tone string
	At          time.Time // of the last record
	Errors      []string
	Was, Is     string // the fields, as indented JSON
	revoked     bool   // a write of irkit revoke, which release leaves alone
}

// Undo says what becomes of the change when the target is released.
func (c *change) Undo() string {
	switch {
	case c.State == planned || c.State == failed:
		return "There is nothing to take back."
	case c.State == undone && c.revoked:
		return "Given back by irkit revoke --undo."
	case c.State == undone && c.Irreversible == "":
		return "Taken back by irkit release."
	case c.Irreversible != "":
		return "Stays for good: " + c.Irreversible + "."
	case c.revoked:
		return "irkit release leaves it; irkit revoke --undo gives it back."
	case c.State == begun:
		return "irkit release looks whether it was made, and takes it back."
	}
	return "irkit release takes it back."
}

// changes follows each change through the custody log (what undoes one has its ID
// behind "release", and may have a part's name after it), in the order in which they were
// begun, and adds those of the plan that never were.
func changes(records []evidence.Record, plan evidence.Planned) []*change {
	var all []*change
	find := func(c evidence.Change) *change {
		id := c.ID
		for _, prefix := range []string{"release:", "release/"} {
			id = strings.TrimPrefix(id, prefix)
		}
		undoes := func(o *change) bool { return o.ID == id || id != c.ID && strings.HasPrefix(id, o.ID+"/") }
		if i := slices.IndexFunc(all, undoes); i >= 0 {
			return all[i]
		}
		n := &change{Change: c, State: planned, Was: fields(c.Before), Is: fields(c.After)}
		n.ID = id
		all = append(all, n)
		return n
	}
	for _, r := range records {
		if r.Change == nil {
			continue
		}
		c := find(*r.Change)
		c.At, c.Errors = r.Time, r.Errors
		c.revoked = c.revoked || r.Action == evidence.ActRevoked
		back := r.Action == evidence.ActReleased
		switch {
		case r.Phase == evidence.Did && back:
			c.State = undone
		case r.Phase == evidence.Did:
			c.State = done
			if r.Change.Object.UID != "" {
				c.Object.UID = r.Change.Object.UID
			}
		case r.Phase == evidence.FailedP && back:
			c.State = "undoing it failed"
		case r.Phase == evidence.FailedP:
			c.State = failed
		case back:
			c.State = "undoing it was begun; outcome not recorded"
		default:
			c.State = begun
		}
	}
	for _, c := range plan.Changes {
		find(c)
	}
	for _, c := range all {
		c.Tone = map[string]string{done: "ok", undone: "unknown", planned: "unknown", begun: "warn"}[c.State]
		if c.Tone == "" {
			c.Tone = "bad"
		}
	}
	return all
}

func fields(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return string(raw)
	}
	return b.String()
}

// alterations are what collecting could not avoid, each once.
func alterations(records []evidence.Record, m evidence.Meta) []evidence.Alteration {
	all := slices.Clone(m.Method.Footprint)
	for _, r := range records {
		all = append(all, r.Alterations...)
	}
	var once []evidence.Alteration
	for _, a := range all {
		if !slices.Contains(once, a) {
			once = append(once, a)
		}
	}
	return once
}
