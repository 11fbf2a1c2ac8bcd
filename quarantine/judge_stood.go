package quarantine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
)

// maxStood bounds the connections that a verdict lists: a target may hold thousands.
const maxStood = 200

// MovedBetween are the connections of before whose counters rose until at.
func MovedBetween(before, at []evidence.Flow) []evidence.Flow {
	var out []evidence.Flow
	for _, f := range before {
		if now := find(at, f); f.Proto == "tcp" && now != nil && total(*now) > total(f) {
			out = append(out, f)
		}
	}
	return out
}

func total(f evidence.Flow) uint64 { return f.Sent + f.Recv }

// find is the same connection in another reading. Once its owner closed it, its inode is 0.
func find(in []evidence.Flow, f evidence.Flow) *evidence.Flow {
	i := slices.IndexFunc(in, func(o evidence.Flow) bool {
		return o.Proto == f.Proto && o.Local == f.Local && o.Remote == f.Remote && (o.Inode == f.Inode || o.Inode == 0)
	})
	if i < 0 {
		return nil
	}
	return &in[i]
}

// established lists what stood at the cut, with what it moved, the most since first.
func (j *judge) established() {
	if j.m.FlowsNow == nil || j.m.AtCut == nil {
		return
	}
	var all []evidence.Stood
	for _, f := range j.m.FlowsBefore {
		if f.Proto != "tcp" || f.State != "ESTABLISHED" || f.Remote.Addr().IsLoopback() {
			continue
		}
		s := evidence.Stood{Flow: f, Probe: j.throughHole(f)}
		at := find(j.m.AtCut, f)
		if at == nil { // closed between the look and the cut
			s.Gone = true
			all = append(all, s)
			continue
		}
		s.Before = total(*at) - min(total(*at), total(f))
		if now := find(j.m.FlowsNow, f); now == nil {
			s.Gone = true
		} else {
			s.Since = total(*now) - min(total(*now), total(*at))
			s.State, s.Sent, s.Recv = now.State, now.Sent, now.Recv
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b evidence.Stood) int {
		return cmp.Or(cmp.Compare(b.Since, a.Since), cmp.Compare(b.Before, a.Before))
	})
	j.v.Established = all[:min(len(all), maxStood)]
	for i, s := range all {
		if s.Since == 0 || s.Probe || i == 5 {
			break
		}
		j.v.Why = append(j.v.Why, fmt.Sprintf("the connection %s to %s moved %d bytes since the cut", s.Local, s.Remote, s.Since))
	}
}

// disturbed lowers a layer whose writes others took away or changed.
func (j *judge) disturbed(l *evidence.LayerVerdict) {
	for _, d := range j.m.Disturbed {
		if d.Layer != l.Layer && (d.Layer != LayerLabel || l.Layer == LayerNetns) {
			continue
		}
		switch d.Code {
		case evidence.PolicyGone, evidence.PolicyChanged, evidence.MarkGone:
			if d.Layer == LayerLabel && !strings.Contains(d.Text, evidence.LabelQuarantine) {
				continue // the note: nothing selects on it
			}
			l.Out, l.In = evidence.Worse(l.Out, evidence.Partial), evidence.Worse(l.In, evidence.Partial)
		}
		if d.Layer == l.Layer {
			l.Why = append(l.Why, d.Text)
		}
	}
}

// othersDid says what was done to the containment, in the verdict's own words.
func (j *judge) othersDid() {
	j.v.Disturbed = append(j.v.Disturbed, j.m.Disturbed...)
	for _, d := range j.m.Disturbed {
		text := d.Text
		if d.By != "" {
			text += "; written by " + d.By
		}
		j.v.Why = append(j.v.Why, text)
	}
}

// brakes says of a cut that could be undone that it is only a brake, also where another
// layer makes the verdict good.
func (j *judge) brakes() {
	for _, l := range j.v.Layers {
		if i := slices.IndexFunc(l.Why, func(w string) bool { return strings.HasPrefix(w, "the target could undo") }); l.Undoes && i >= 0 &&
			!slices.Contains(j.v.Why, l.Layer+": "+l.Why[i]) {
			j.v.Why = append(j.v.Why, l.Layer+": "+l.Why[i])
		}
	}
	if c := j.m.Cut; c != nil && c.Reasserted > 0 {
		j.v.Why = append(j.v.Why, fmt.Sprintf("the cut was put back %d times; it was open for about %s in all", c.Reasserted, c.Reopened))
	}
}
