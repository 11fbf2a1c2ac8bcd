package quarantine_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// both gives a pod an address of each family.
func both(name, v4, v6 string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Name, p.Status.PodIP, p.Status.PodIPs = name, v4, []corev1.PodIP{{IP: v4}, {IP: v6}}
	}
}

// dualStack gives the node, the API server and the DNS a second address each.
func dualStack(objs []runtime.Object) []runtime.Object {
	for _, o := range objs {
		switch o := o.(type) {
		case *corev1.Node:
			o.Spec.PodCIDRs = append(o.Spec.PodCIDRs, "fd00:10::/64")
			o.Status.Addresses = append(o.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "fd00:192::1"})
		case *corev1.Service:
			if ips := o.Spec.ClusterIPs; len(ips) == 1 {
				o.Spec.ClusterIPs = append(ips, "fd00:96::"+ips[0][strings.LastIndex(ips[0], ".")+1:])
			}
		}
	}
	return objs
}

func TestProbesGoOverEveryFamilyOfTheTarget(t *testing.T) {
	db := pod("", both("db-0", "10.0.0.8", "fd00:10::8"))
	db.UID = "db"
	for name, c := range map[string]struct {
		target        *corev1.Pod
		six, sixOut   []string
		four, fourOut int
	}{
		"dual stack": {
			target: pod("", both("web-0", "10.0.0.7", "fd00:10::7")),
			six:    []string{"api-server tcp [fd00:96::1]:443", "dns-udp udp [fd00:96::10]:53", "dns-tcp tcp [fd00:96::10]:53", "node tcp [fd00:192::1]:10250", "metadata tcp [fd00:ec2::254]:80", "sibling tcp [fd00:10::8]:8080"},
			sixOut: []string{"inbound tcp [fd00:10::7]:8080"}, four: 6, fourOut: 1,
		},
		"IPv4 alone": {target: pod(""), four: 6, fourOut: 1},
		"IPv6 alone": {
			target: pod("", func(p *corev1.Pod) {
				p.Status.PodIP, p.Status.PodIPs = "fd00:10::7", []corev1.PodIP{{IP: "fd00:10::7"}}
			}),
			six:    []string{"api-server tcp [fd00:96::1]:443", "dns-udp udp [fd00:96::10]:53", "dns-tcp tcp [fd00:96::10]:53", "node tcp [fd00:192::1]:10250", "metadata tcp [fd00:ec2::254]:80", "sibling tcp [fd00:10::8]:8080"},
			sixOut: []string{"inbound tcp [fd00:10::7]:8080"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn, _ := world(t, append(dualStack(surroundings()), append(owners(), c.target, db)...)...)
			s, err := quarantine.Survey(t.Context(), conn, target())
			if err != nil {
				t.Fatal(err)
			}
			got := quarantine.Probes(s)
			for _, w := range []struct {
				what  string
				all   []evidence.Probe
				six   []string
				fours int
			}{{"inside", got.Inside, c.six, c.four}, {"outside", got.Outside, c.sixOut, c.fourOut}} {
				var six []string
				fours := 0
				for _, p := range w.all {
					if p.Addr.Addr().Is4() {
						fours++
						continue
					}
					six = append(six, p.Name+" "+p.Proto+" "+p.Addr.String())
				}
				if strings.Join(six, "\n") != strings.Join(w.six, "\n") || fours != w.fours {
					t.Errorf("%s: %d over IPv4, want %d; over IPv6:\n%s\nwant:\n%s", w.what, fours, w.fours, strings.Join(six, "\n"), strings.Join(w.six, "\n"))
				}
			}
		})
	}
}

// What was measured over IPv4 says nothing of IPv6.
func TestAFamilyThatWasNotMeasuredIsNeverContained(t *testing.T) {
	api6, inbound6 := probe("api-server", "[fd00:96::1]:443"), probe("inbound", "[fd00:10::7]:8080")
	inbound6.Inbound = true
	c26 := flow("[fd00:10::7]:40001", "[2001:db8::5]:4444", "ESTABLISHED")
	heard := func(m *quarantine.Measurements) {
		m.Baseline = append(m.Baseline, result(api6, 50, true))
		m.After = append(m.After, result(api6, 400, false))
	}
	knocked := func(m *quarantine.Measurements) {
		m.OutsideBefore = append(m.OutsideBefore, result(inbound6, 60, true))
		m.OutsideAfter = append(m.OutsideAfter, result(inbound6, 500, false))
	}
	for name, c := range map[string]struct {
		more    []func(*quarantine.Measurements)
		out, in evidence.State
		says    string
	}{
		"both ways":                    {[]func(*quarantine.Measurements){heard, knocked}, evidence.Contained, evidence.Contained, "both ways"},
		"nothing over IPv6":            {nil, evidence.Partial, evidence.Partial, "outbound: over IPv6 nothing that was tried had worked before"},
		"nothing from outside":         {[]func(*quarantine.Measurements){heard}, evidence.Contained, evidence.Partial, "inbound: over IPv6"},
		"a connection that stopped":    {[]func(*quarantine.Measurements){knocked, func(m *quarantine.Measurements) { m.MovedBefore = []evidence.Flow{c26} }}, evidence.Contained, evidence.Contained, "both ways"},
		"a connection that still goes": {[]func(*quarantine.Measurements){knocked, func(m *quarantine.Measurements) { m.MovedBefore, m.Moving = []evidence.Flow{c26}, []evidence.Flow{c26} }}, evidence.Partial, evidence.Contained, "still moves: tcp [fd00:10::7]:40001"},
		"IPv6 still answers":           {[]func(*quarantine.Measurements){heard, knocked, func(m *quarantine.Measurements) { m.After = append(m.After, result(api6, 600, true)) }}, evidence.Partial, evidence.Contained, "still works: api-server tcp/[fd00:96::1]:443"},
	} {
		t.Run(name, func(t *testing.T) {
			m := contained()
			without(&m, quarantine.LayerNetpol)
			m.PinholeOut, m.PinholeIn = nil, nil
			both("web-0", "10.0.0.7", "fd00:10::7")(&m.Scene.Pod)
			for _, f := range c.more {
				f(&m)
			}
			v := quarantine.Judge(m)
			if v.Outbound != c.out || v.Inbound != c.in || !strings.Contains(strings.Join(v.Why, "\n"), c.says) {
				t.Errorf("outbound %s, inbound %s, want %s, %s and %q: %q", v.Outbound, v.Inbound, c.out, c.in, c.says, v.Why)
			}
		})
	}
	t.Run("the policy alone", func(t *testing.T) {
		m := contained()
		without(&m, quarantine.LayerNetns)
		both("web-0", "10.0.0.7", "fd00:10::7")(&m.Scene.Pod)
		if v := quarantine.Judge(m); v.State != evidence.Partial || !strings.Contains(strings.Join(v.Why, "\n"), "the policy alone: over IPv6") {
			t.Errorf("%s: %q", v.State, v.Why)
		}
	})
}
