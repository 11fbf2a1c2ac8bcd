//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/evidence"
)

// resourceOf is how the API server names a kind in its audit log.
func resourceOf(kind string) string {
	if strings.HasSuffix(kind, "y") {
		return strings.ToLower(strings.TrimSuffix(kind, "y")) + "ies"
	}
	return strings.ToLower(kind) + "s"
}

// verbsOf are the verbs that a change of that operation comes to.
func verbsOf(op evidence.Op) []string {
	switch op {
	case evidence.OpCreate:
		return []string{"create"}
	case evidence.OpDelete:
		return []string{"delete"}
	case evidence.OpPatch, evidence.OpInject:
		return []string{"patch", "update"}
	}
	return nil
}

// TestAuditLogAgainstCustody: what the API server's audit log has of a containment, a look
// and a release, and what the custody log has, are the same: each write is part of a change
// that was intended before and whose outcome was recorded after, with its object and verb;
// each stream into a container has a record; and custody claims no request that was not
// made. Reads, reviews and dry runs leave nothing behind, and are in the audit log alone.
func TestAuditLogAgainstCustody(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	began := time.Now()
	const caseID = "case-audited"
	was := victim(t, c, "audited")
	p := newPerson(t)
	p.runSwift(was, "--case", caseID)
	p.irkit("status", caseID)
	p.irkit("status", caseID, "--probe")
	p.release(was.Name, ownNamespace, "--to-service", "--case", caseID).want(t, 0)

	type mention struct {
		evidence.Record
		intended time.Time
	}
	custody := map[string]mention{}
	intends, looks := map[string]time.Time{}, 0
	for _, r := range history(t, p, caseID) {
		if r.Phase == evidence.Intend {
			intends[r.Change.ID] = r.Time
		}
		if r.Action == evidence.ActRequested {
			looks++
		}
		m := mention{Record: r}
		if r.Change != nil {
			m.intended = intends[r.Change.ID]
		}
		for _, id := range r.AuditIDs {
			if _, twice := custody[id]; twice {
				t.Errorf("custody has %s twice", id)
			}
			custody[id] = m
		}
	}
	all, err := auditLog(began)
	if err != nil {
		t.Fatal(err)
	}
	logged := map[string]request{}
	var writes, streams, others int
	for _, r := range all {
		_, ours := custody[r.AuditID]
		if !ours && !strings.Contains(r.UserAgent, "(case="+caseID+";") && r.Object.Name != was.Name {
			continue // of a test beside this one
		}
		logged[r.AuditID] = r
		if r.acting().Name != "responder" || !strings.HasPrefix(r.UserAgent, "irkit/") {
			t.Errorf("by %s, %s: %s", r.acting().Name, r.UserAgent, r)
		}
		in, there := custody[r.AuditID]
		switch {
		case r.streams():
			streams++
			if !there {
				t.Errorf("custody does not have the stream %s", r)
			}
		case r.writes():
			writes++
			if !there || in.Change == nil {
				t.Errorf("no change in custody has the write %s", r)
				continue
			}
			o := in.Change.Object
			if resourceOf(o.Kind) != r.Object.Resource || o.Namespace != r.Object.Namespace || r.Object.Name != "" && o.Name != "" && o.Name != r.Object.Name ||
				!slices.Contains(verbsOf(in.Change.Op), r.Verb) {
				t.Errorf("the write %s is recorded as %s %s", r, in.Change.Op, o)
			}
			if in.Phase == evidence.Intend || in.intended.IsZero() || in.intended.After(r.Received) || in.Time.Before(r.Received) {
				t.Errorf("%s at %s: intended at %s, recorded %s at %s", r, r.Received, in.intended, in.Phase, in.Time)
			}
		default:
			others++
		}
	}
	for id, in := range custody {
		if _, there := logged[id]; !there {
			t.Errorf("the audit log does not have %s, of %s", id, mustJSON(t, in.Record))
		}
	}
	t.Logf("%d writes, %d streams, %d others in the audit log; %d ids in custody, %d records of streams", writes, streams, others, len(custody), looks)
	if writes < 8 || streams < 4 || looks < 3 { // the session and two looks; the release streams as part of a change
		t.Error("too few: something was not looked at")
	}
}
