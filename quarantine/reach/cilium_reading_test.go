package reach_test

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"

	"irkit.dev/irkit/quarantine/reach"
)

// TestCiliumReadsNetworkPolicyOtherwise holds the three differences, as they were seen on
// the lab (TestLabEvaluatorAgainstCilium): by the API's text, and with Cilium.
func TestCiliumReadsNetworkPolicyOtherwise(t *testing.T) {
	left := policy(t, "podSelector: {}\npolicyTypes: [Egress]\ningress: [{}]\n")
	block := policy(t, "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]\n")
	named := policy(t, "podSelector: {}\npolicyTypes: [Egress]\negress: [{ports: [{port: http}]}]\n")
	for name, c := range map[string]struct {
		all          []networkingv1.NetworkPolicy
		dir          networkingv1.PolicyType
		text, cilium reach.Answer
	}{
		"rules of a direction that policyTypes leaves out allow":  {[]networkingv1.NetworkPolicy{left, denyAll(t)}, in, reach.No, reach.Yes},
		"and alone they let everything through, as their absence": {[]networkingv1.NetworkPolicy{left}, in, reach.Yes, reach.Yes},
		"an ipBlock with a pod's address in it":                   {[]networkingv1.NetworkPolicy{block}, out, reach.Yes, reach.No},
		"a port by name, on the way out":                          {[]networkingv1.NetworkPolicy{named}, out, reach.No, reach.Unsure},
	} {
		f := reach.Flow{Direction: c.dir, Peer: peers()["db"], Protocol: "TCP", Port: 5432}
		if got, _ := (reach.Policies{Network: c.all}).Decide(me(), f); got != c.text {
			t.Errorf("%s: %s by the API's text, want %s", name, got, c.text)
		}
		if got, _ := (reach.Policies{Network: c.all, Cilium: true}).Decide(me(), f); got != c.cilium {
			t.Errorf("%s: %s with Cilium, want %s", name, got, c.cilium)
		}
	}
	rest := reach.Policies{Network: []networkingv1.NetworkPolicy{left}, Cilium: true}.Residuals(*me().Pod, nil)
	if len(rest) != 1 || rest[0].Text != "ingress from any peer on any port, which its policyTypes leave out and Cilium lets through all the same" {
		t.Errorf("residuals %+v", rest)
	}
}
