package debugger

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NET_RAW is asked for only where packets are, and costs nothing else where it is refused.
func TestNetRawOnlyForPackets(t *testing.T) {
	a := newAPI(t)
	raw := func(c corev1.EphemeralContainer) bool {
		return slices.Contains(c.SecurityContext.Capabilities.Add, "NET_RAW")
	}
	a.admit = func(corev1.EphemeralContainer, bool) *metav1.Status { return nil }
	for _, packets := range []bool{false, true} {
		o := a.options()
		o.Packets = packets
		c, err := Choose(t.Context(), o)
		if err != nil || strings.Contains(string(c.Change.After), "NET_RAW") != packets || (c.Profile == P1NR) != packets || !c.Profile.Cuts() {
			t.Errorf("packets %v: %+v, %v", packets, c, err)
		}
	}
	a.admit = func(c corev1.EphemeralContainer, _ bool) *metav1.Status {
		if raw(c) {
			return denial("no NET_RAW here")
		}
		return nil
	}
	o := a.options()
	o.Packets = true
	c, err := Choose(t.Context(), o)
	if err != nil || c.Profile != P1N || len(c.Refused) != 1 || c.Refused[0].Profile != P1NR {
		t.Errorf("refused: %+v, %v", c, err)
	}
}
