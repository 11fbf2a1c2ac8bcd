// Package standard lists the collectors that come with irkit. A kind is added here and
// nowhere else: nothing registers itself.
package standard

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/collectors/beside"
	"irkit.dev/irkit/collectors/logs"
	"irkit.dev/irkit/collectors/objects"
	"irkit.dev/irkit/evidence"
)

// Cluster is what the collectors that need no hand read through.
type Cluster struct {
	Client      kubernetes.Interface
	Dynamic     dynamic.Interface
	HMACKey     []byte                 // of the case
	Before      *corev1.Pod            // the pod before containment; nil: as it stands
	ReadSecrets bool                   // keys and digests of the pod's secrets too
	Ours        func(name string) bool // tells irkit's own ephemeral containers; nil: none
}

// OfCluster are the collectors that need no hand, most volatile first.
func OfCluster(c Cluster) []collectors.Collector {
	o := objects.Options{Dynamic: c.Dynamic, HMACKey: c.HMACKey, Before: c.Before, ReadSecrets: c.ReadSecrets}
	return Ordered(objects.NewEvents(o), logs.New(logs.Options{Client: c.Client, Ours: c.Ours}), objects.New(o))
}

// Container is one container as one hand reaches it.
type Container struct {
	Hand    agent.Hand
	Name    string         // of the container; empty: the pod
	Ordinal string         // c0, i0, e0, pod
	Image   string         // of the hand
	Trust   evidence.Trust // of the hand, as its host knows it
	Request agent.Request  // what every request to it shares; Kind is set here
}

// OfContainer are the collectors that go through a hand, one for each kind, most
// volatile first; without kinds, for all of them.
func OfContainer(c Container, kinds ...string) ([]collectors.Collector, error) {
	if len(kinds) == 0 {
		kinds = beside.Kinds()
	}
	var all []collectors.Collector
	for _, k := range kinds {
		q := c.Request
		q.Kind = k
		one, err := beside.New(beside.Options{Hand: c.Hand, Container: c.Name, Ordinal: c.Ordinal, Image: c.Image, Trust: c.Trust, Request: q})
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return Ordered(all...), nil
}

// Ordered puts what fades first in front; equals stay as they were (RFC 3227, section 2.1).
func Ordered(all ...collectors.Collector) []collectors.Collector {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b collectors.Collector) int { return a.Traits().Volatility - b.Traits().Volatility })
	return all
}
