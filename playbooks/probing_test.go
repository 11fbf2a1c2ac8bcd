package playbooks

import (
	"testing"

	"irkit.dev/irkit/evidence"
)

// A probe pod may be there from the record before it is made until the record after it
// is gone, and a release takes away what a killed session left.
func TestAProbePodMayBeThere(t *testing.T) {
	probe := func(op evidence.Op, p evidence.Phase) evidence.Record {
		return evidence.Record{Action: evidence.ActHand, Phase: p, Change: &evidence.Change{ID: "probe/" + string(op), Layer: "probe", Op: op, Object: evidence.Object{Namespace: "system", Name: "probe"}}}
	}
	begun, made := probe(evidence.OpCreate, evidence.Intend), probe(evidence.OpCreate, evidence.Did)
	ending, ended := probe(evidence.OpDelete, evidence.Intend), probe(evidence.OpDelete, evidence.Did)
	hand := evidence.Record{Action: evidence.ActHand, Phase: evidence.Did, Change: &evidence.Change{ID: "hand", Layer: "hand", Op: evidence.OpInject}}
	for name, c := range map[string]struct {
		records []evidence.Record
		want    bool
	}{
		"nothing":      {nil, false},
		"another hand": {[]evidence.Record{{Action: evidence.ActOpened}, hand}, false},
		"begun":        {[]evidence.Record{begun}, true},
		"made":         {[]evidence.Record{begun, made, hand}, true},
		"ending":       {[]evidence.Record{begun, made, ending}, true},
		"ended":        {[]evidence.Record{begun, made, ending, ended}, false},
		"made again":   {[]evidence.Record{begun, made, ending, ended, begun}, true},
	} {
		if got := probing(c.records); (got == "system/probe") != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
