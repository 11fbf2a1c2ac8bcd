package netns

import (
	"testing"

	"irkit.dev/irkit/agent"
)

func TestSmoke(t *testing.T) {
	for _, w := range ways() {
		target, peer := wire(t)
		target.serve(t, "", probePort)
		target.serve(t, "", 9090)
		peer.serve(t, "", 443)
		target.reaches(t, target4, node4, 443)
		target.reaches(t, target6, node6, 443)
		r := target.cutHere(t, agent.Cut{Case: theCase, Holes: probeHoles()}, w)
		t.Logf("%+v", r)
		peer.reaches(t, node4, target4, probePort)
		peer.reaches(t, node6, target6, probePort)
		peer.doesNotReach(t, node4, target4, 9090)
		target.doesNotReach(t, target4, node4, 443)
		t.Log(target.nft(t, "list", "ruleset"))
		t.Logf("%+v", target.report(t))
	}
}
