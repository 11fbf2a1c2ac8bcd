//go:build e2e

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// most is how many API round trips may follow each other before the first layer holds.
const most = 12

// TestRoundTrips counts how many calls to the API server follow each other before the
// first layer can hold: calls that overlap count once. Every call takes at least 150 ms
// here, so that whatever is sent side by side overlaps. It is a count of what waits for
// what, and no measure of time.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	pod := victim(t, cluster(t), "rounds")
	p := newPerson(t)
	g, kube := newGate(t, nil, pod.Name, "POD", string(pod.UID), "UID", "case-rounds", "CASE")
	g.delay = 150 * time.Millisecond
	p.kube = kube
	p.runChaos(pod.Name, "case-rounds").want(t, 0)
	all := g.was()
	p.kube = responder
	defer p.release(pod.Name, ownNamespace, "--to-service").want(t, 0)
	for _, layer := range []struct {
		name, call string
		more       int
	}{
		{"the policy on labels that are there", "POST apis/networking.k8s.io/v1/namespaces/e2e/networkpolicies", 0},
		{"the quarantine label", "PATCH api/v1/namespaces/e2e/pods/POD", 0},
		{"the cut, by the stream to the hand", "GET api/v1/namespaces/e2e/pods/POD/exec", 4},
	} {
		i := slices.IndexFunc(all, func(c call) bool { return c.Key == layer.call })
		if i < 0 {
			t.Errorf("%s: no call %s", layer.name, layer.call)
			continue
		}
		chain := longest(all, all[i])
		var keys []string
		for _, c := range chain {
			keys = append(keys, c.Key)
		}
		t.Logf("%s: %d round trips\n\t%s", layer.name, len(chain), strings.Join(keys, "\n\t"))
		// The first layer to hold is a policy; the cut has the hand's container to wait for, whose
		// watch and streams come to a few calls more.
		if limit := most + layer.more; len(chain) > limit {
			t.Errorf("%s: %d sequential round trips, want at most %d", layer.name, len(chain), limit)
		}
	}
}

// longest is a longest chain of calls that ends with last, each of which began after the
// one before had been answered.
func longest(all []call, last call) []call {
	before := slices.DeleteFunc(slices.Clone(all), func(c call) bool { return c.End.After(last.Start) })
	slices.SortFunc(before, func(a, b call) int { return a.End.Compare(b.End) })
	var chain []call
	for _, c := range before {
		if len(chain) == 0 || !c.Start.Before(chain[len(chain)-1].End) {
			chain = append(chain, c)
		}
	}
	return append(chain, last)
}
