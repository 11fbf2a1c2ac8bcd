//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/evidence"
)

// chaotic makes every write that contain makes, but for the cordon, which side by side
// would be another test's; the slow part of collecting is left out.
const chaotic = `apiVersion: irkit.dev/v1alpha1
kind: Playbook
metadata: {name: chaotic}
steps:
  - id: isolate
    isolate: {layers: [netns, netpol, detach]}
  - id: volatile
    collect: {artifacts: [processes, connections]}
  - id: measure
    measure: {within: 1s}
`

func (p *person) runChaos(pod, caseID string, more ...string) ran {
	p.t.Helper()
	return p.irkit(p.chaos(pod, caseID, more...)...)
}

// again runs contain once more: nothing goes out of the pod then, as the command server
// tells. The verdict may be UNVERIFIED where the first run was disturbed before it had
// measured: all is closed then, and nothing that worked before is there to be tried.
func (p *person) again(t *testing.T, pod, caseID string) ran {
	t.Helper()
	proven := p.provenOut(t)
	r := p.runChaos(pod, caseID)
	v := r.result(t).Verdict
	if v == nil || v.Outbound != evidence.Contained && (proven || v.Outbound != evidence.Unverified) || (r.code == 0) != (v.State == evidence.Contained) || r.code != 0 && r.code != 5 {
		t.Errorf("again: exit %d, verdict %+v; proven before: %v", r.code, v, proven)
	}
	ip := getPod(t, cluster(t), ownNamespace, pod).Status.PodIP
	if last := time.Since(heard(t, ip)); last < 2*time.Second {
		t.Errorf("the command server heard of the pod %s ago", last)
	}
	return r
}

// provenOut: a verdict of this home's case says that nothing goes out.
func (p *person) provenOut(t *testing.T) bool {
	t.Helper()
	return slices.ContainsFunc(lines[evidence.Record](t, whole(p.log(t))), func(r evidence.Record) bool {
		return r.Action == evidence.ActMeasured && r.Data["outbound"] == string(evidence.Contained)
	})
}

// whole leaves out a last line that a kill tore.
func whole(log string) []byte { return []byte(log[:strings.LastIndexByte(log, '\n')+1]) }
