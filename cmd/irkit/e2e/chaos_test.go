//go:build e2e

package e2e

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
