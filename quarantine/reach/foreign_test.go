package reach_test

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/reach"
)

// foreign is a policy of that kind; the text is its specification.
func foreign(t testing.TB, apiVersion, kind, namespace, name, spec string) reach.Foreign {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	return reach.Foreign{Object: evidence.Object{APIVersion: apiVersion, Kind: kind, Namespace: namespace, Name: name}, Spec: raw}
}

func denyAll(t testing.TB) networkingv1.NetworkPolicy {
	return policy(t, "podSelector: {}\npolicyTypes: [Ingress, Egress]\n")
}

const (
	ciliumV  = "cilium.io/v2"
	calicoV  = "crd.projectcalico.org/v1"
	clusterV = "policy.networking.k8s.io/v1alpha2"
)

func TestDecide(t *testing.T) {
	cnp := func(spec string) []reach.Foreign {
		return []reach.Foreign{foreign(t, ciliumV, "CiliumNetworkPolicy", "prod", "c", spec)}
	}
	gnp := func(specs ...string) (out []reach.Foreign) {
		for i, s := range specs {
			out = append(out, foreign(t, calicoV, "GlobalNetworkPolicy", "", string(rune('a'+i)), s))
		}
		return append(out, foreign(t, calicoV, "Tier", "", "first", "order: 100"), foreign(t, calicoV, "Tier", "", "last", "order: 2000000"))
	}
	anp := func(specs ...string) (out []reach.Foreign) {
		for i, s := range specs {
			out = append(out, foreign(t, clusterV, "ClusterNetworkPolicy", "", string(rune('a'+i)), s))
		}
		return out
	}
	const self = "endpointSelector: {matchLabels: {app: web}}\n"
	for name, c := range map[string]struct {
		closed bool // our NetworkPolicy stands too
		all    []reach.Foreign
		dir    networkingv1.PolicyType
		peer   string
		proto  corev1.Protocol
		port   uint16
		want   reach.Answer
	}{
		"cilium: an allow beside our policy":               {true, cnp(self + "egress: [{toEndpoints: [{matchLabels: {app: db}}]}]"), out, "db", "TCP", 5432, reach.Yes},
		"cilium: an allow for another":                     {true, cnp(self + "egress: [{toEndpoints: [{matchLabels: {app: dc}}]}]"), out, "db", "TCP", 5432, reach.No},
		"cilium: an allow isolates by itself":              {false, cnp(self + "egress: [{toEndpoints: [{matchLabels: {app: dc}}]}]"), out, "db", "TCP", 5432, reach.No},
		"cilium: the other direction stays free":           {false, cnp(self + "egress: [{toEndpoints: [{matchLabels: {app: dc}}]}]"), in, "db", "TCP", 8080, reach.Yes},
		"cilium: enableDefaultDeny false isolates not":     {false, cnp(self + "enableDefaultDeny: {egress: false}\negress: [{toEndpoints: [{matchLabels: {app: dc}}]}]"), out, "db", "TCP", 5432, reach.Yes},
		"cilium: a deny beats an allow":                    {false, cnp(self + "egress: [{toEntities: [all]}]\negressDeny: [{toEndpoints: [{matchLabels: {app: db}}]}]"), out, "db", "TCP", 5432, reach.No},
		"cilium: an empty list isolates nobody":            {false, cnp(self + "ingress: []\ningressDeny: []"), in, "db", "TCP", 8080, reach.Yes},
		"cilium: nor does enableDefaultDeny without rules": {false, cnp(self + "enableDefaultDeny: {ingress: true}\ningress: []"), in, "db", "TCP", 8080, reach.Yes},
		"cilium: an empty rule only isolates":              {false, cnp(self + "ingress: [{}]"), in, "db", "TCP", 8080, reach.No},
		"cilium: an empty list names nobody":               {false, cnp(self + "ingress: [{fromEndpoints: []}]"), in, "db", "TCP", 8080, reach.No},
		"cilium: ports without peers are for everybody":    {true, cnp(self + "ingress: [{toPorts: [{ports: [{port: \"8080\", protocol: TCP}]}]}]"), in, "db", "TCP", 8080, reach.Yes},
		"cilium: and for no other port":                    {true, cnp(self + "ingress: [{toPorts: [{ports: [{port: \"8080\", protocol: TCP}]}]}]"), in, "db", "TCP", 8081, reach.No},
		"cilium: a named port":                             {true, cnp(self + "ingress: [{toPorts: [{ports: [{port: http, protocol: TCP}]}]}]"), in, "db", "TCP", 8080, reach.Yes},
		"cilium: a range":                                  {true, cnp(self + "ingress: [{toPorts: [{ports: [{port: \"8000\", endPort: 9000}]}]}]"), in, "db", "UDP", 8500, reach.Yes},
		"cilium: a selector means its own namespace":       {true, cnp(self + "egress: [{toEndpoints: [{matchLabels: {k8s-app: kube-dns}}]}]"), out, "dns", "UDP", 53, reach.No},
		"cilium: unless it names one":                      {true, cnp(self + "egress: [{toEndpoints: [{matchLabels: {\"k8s:k8s-app\": kube-dns, \"k8s:io.kubernetes.pod.namespace\": kube-system}}]}]"), out, "dns", "UDP", 53, reach.Yes},
		"cilium: a CIDR matches no pod":                    {true, cnp(self + "egress: [{toCIDR: [0.0.0.0/0]}]"), out, "db", "TCP", 5432, reach.No},
		"cilium: a CIDR matches the world":                 {true, cnp(self + "egress: [{toCIDR: [198.51.100.0/24]}]"), out, "net", "TCP", 443, reach.Yes},
		"cilium: but for what is excepted":                 {true, cnp(self + "egress: [{toCIDRSet: [{cidr: 198.51.100.0/24, except: [198.51.100.5/32]}]}]"), out, "net", "TCP", 443, reach.No},
		"cilium: names of hosts cannot be told":            {true, cnp(self + "egress: [{toFQDNs: [{matchName: example.org}]}]"), out, "net", "TCP", 443, reach.Unsure},
		"cilium: a field that is new cannot be told":       {true, cnp(self + "egress: [{toMoon: [{}]}]"), out, "net", "TCP", 443, reach.Unsure},
		"cilium: a label that it may not know":             {true, cnp("endpointSelector: {matchLabels: {statefulset.kubernetes.io/pod-name: web}}\negress: [{toEntities: [all]}]"), out, "net", "TCP", 443, reach.Unsure},
		"cilium: a policy for nodes":                       {true, cnp("nodeSelector: {}\negress: [{toEntities: [all]}]"), out, "net", "TCP", 443, reach.No},
		"calico: an allow beside our policy":               {true, gnp("{selector: app == 'web', types: [Egress], egress: [{action: Allow}]}"), out, "net", "TCP", 443, reach.Yes},
		"calico: and after it, in the same tier":           {true, gnp("{order: 5000, selector: all(), types: [Egress], egress: [{action: Allow}]}"), out, "net", "TCP", 443, reach.Yes},
		"calico: a deny before it":                         {false, gnp("{order: 1, selector: all(), types: [Egress], egress: [{action: Deny}]}"), out, "net", "TCP", 443, reach.No},
		"calico: the first rule that matches decides":      {false, gnp("{order: 1, selector: all(), types: [Egress], egress: [{action: Allow, protocol: UDP}, {action: Deny}]}"), out, "net", "UDP", 443, reach.Yes},
		"calico: an earlier tier decides first":            {true, gnp("{tier: first, selector: all(), types: [Egress], egress: [{action: Allow}]}"), out, "net", "TCP", 443, reach.Yes},
		"calico: and passes on":                            {true, gnp("{tier: first, selector: all(), types: [Egress], egress: [{action: Pass}]}"), out, "net", "TCP", 443, reach.No},
		"calico: and drops what no rule matches":           {false, gnp("{tier: first, selector: all(), types: [Egress], egress: [{action: Allow, protocol: UDP}]}"), out, "net", "TCP", 443, reach.No},
		"calico: a later tier is never asked":              {true, gnp("{tier: last, selector: all(), types: [Egress], egress: [{action: Allow}]}"), out, "net", "TCP", 443, reach.No},
		"calico: a tier that nobody can read":              {true, gnp("{tier: gone, selector: all(), types: [Egress], egress: [{action: Allow}]}"), out, "net", "TCP", 443, reach.Unsure},
		"calico: Log decides nothing":                      {true, gnp("{selector: all(), types: [Egress], egress: [{action: Log}, {action: Allow, protocol: UDP}]}"), out, "net", "TCP", 443, reach.No},
		"calico: ports and nets":                           {true, gnp("{selector: all(), types: [Egress], egress: [{action: Allow, protocol: TCP, destination: {nets: [198.51.100.0/24], ports: [443, \"8000:9000\"]}}]}"), out, "net", "TCP", 8500, reach.Yes},
		"calico: not those nets":                           {true, gnp("{selector: all(), types: [Egress], egress: [{action: Allow, destination: {notNets: [198.51.100.0/24]}}]}"), out, "net", "TCP", 443, reach.No},
		"calico: a pod by its labels":                      {true, gnp("{selector: all(), types: [Ingress], ingress: [{action: Allow, source: {selector: \"app in {'db','x'}\"}}]}"), in, "db", "TCP", 8080, reach.Yes},
		"calico: an address may be in a network set":       {true, gnp("{selector: all(), types: [Egress], egress: [{action: Allow, destination: {selector: \"role == 'x'\"}}]}"), out, "net", "TCP", 443, reach.Unsure},
		"calico: what cannot be parsed cannot be told":     {true, gnp("{selector: \"app ==\", types: [Egress], egress: [{action: Allow}]}"), out, "net", "TCP", 443, reach.Unsure},
		"calico: for hosts only":                           {true, gnp("{selector: all(), preDNAT: true, applyOnForward: true, types: [Ingress], ingress: [{action: Allow}]}"), in, "net", "TCP", 8080, reach.No},
		"cluster: Accept before our policy":                {true, anp("{tier: Admin, priority: 10, subject: {namespaces: {}}, egress: [{action: Accept, to: [{networks: [0.0.0.0/0]}]}]}"), out, "net", "TCP", 443, reach.Yes},
		"cluster: the lower priority first":                {true, anp("{tier: Admin, priority: 10, subject: {namespaces: {}}, egress: [{action: Accept, to: [{networks: [0.0.0.0/0]}]}]}", "{tier: Admin, priority: 5, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}"), out, "net", "TCP", 443, reach.No},
		"cluster: Pass goes to our policy":                 {true, anp("{tier: Admin, priority: 5, subject: {namespaces: {}}, egress: [{action: Pass, to: [{networks: [0.0.0.0/0]}]}]}", "{tier: Admin, priority: 10, subject: {namespaces: {}}, egress: [{action: Accept, to: [{networks: [0.0.0.0/0]}]}]}"), out, "net", "TCP", 443, reach.No},
		"cluster: a baseline is not asked":                 {true, anp("{tier: Baseline, priority: 5, subject: {namespaces: {}}, egress: [{action: Accept, to: [{networks: [0.0.0.0/0]}]}]}"), out, "net", "TCP", 443, reach.No},
		"cluster: a baseline where nothing isolates":       {false, anp("{tier: Baseline, priority: 5, subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]}"), out, "net", "TCP", 443, reach.No},
		"cluster: another subject":                         {true, anp("{tier: Admin, priority: 5, subject: {pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: db}}}}, egress: [{action: Accept, to: [{networks: [0.0.0.0/0]}]}]}"), out, "net", "TCP", 443, reach.No},
		"cluster: ports":                                   {true, anp("{tier: Admin, priority: 5, subject: {namespaces: {}}, ingress: [{action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 8000, end: 9000}}}}]}]}"), in, "db", "TCP", 8080, reach.Yes},
		"cluster: a named port":                            {true, anp("{tier: Admin, priority: 5, subject: {namespaces: {}}, ingress: [{action: Accept, from: [{namespaces: {}}], protocols: [{destinationNamedPort: metrics}]}]}"), in, "db", "UDP", 9090, reach.Yes},
		"cluster: domains cannot be told":                  {true, anp("{tier: Admin, priority: 5, subject: {namespaces: {}}, egress: [{action: Accept, to: [{domainNames: [example.org]}]}]}"), out, "net", "TCP", 443, reach.Unsure},
		"of a kind that is not read":                       {true, []reach.Foreign{foreign(t, "crd.antrea.io/v1beta1", "ClusterNetworkPolicy", "", "x", "{}")}, out, "net", "TCP", 443, reach.Unsure},
		"of a kind that is not read, in another namespace": {true, []reach.Foreign{foreign(t, "crd.antrea.io/v1beta1", "NetworkPolicy", "other", "x", "{}")}, out, "net", "TCP", 443, reach.No},
	} {
		t.Run(name, func(t *testing.T) {
			p := reach.Policies{Foreign: c.all}
			if c.closed {
				p.Network = []networkingv1.NetworkPolicy{denyAll(t)}
			}
			got, by := p.Decide(me(), reach.Flow{Direction: c.dir, Peer: peers()[c.peer], Protocol: c.proto, Port: c.port})
			if got != c.want {
				t.Errorf("%s by %q, want %s", got, by, c.want)
			}
			if c.closed && (got != reach.No) != (len(by) > 0) {
				t.Errorf("%s by %q", got, by)
			}
		})
	}
}

func me() reach.Endpoint { return self() }

// TestForeignResiduals: what would still let something through is named with its rule, and
// what a deny shadows is not.
func TestForeignResiduals(t *testing.T) {
	for name, c := range map[string]struct {
		all  []reach.Foreign
		want []string
	}{
		"cilium": {[]reach.Foreign{foreign(t, ciliumV, "CiliumClusterwideNetworkPolicy", "", "open", "endpointSelector: {}\negress: [{toEntities: [world]}]")},
			[]string{"CiliumClusterwideNetworkPolicy open|egress[0]|egress to entity world on any port|"}},
		"cilium, closed by a deny": {[]reach.Foreign{
			foreign(t, ciliumV, "CiliumClusterwideNetworkPolicy", "", "open", "endpointSelector: {}\negress: [{toEntities: [world]}]"),
			foreign(t, ciliumV, "CiliumNetworkPolicy", "prod", "shut", "endpointSelector: {matchLabels: {irkit.dev/quarantine: c-1}}\negressDeny: [{toEntities: [all]}]")}, nil},
		"cilium, closed in part": {[]reach.Foreign{
			foreign(t, ciliumV, "CiliumClusterwideNetworkPolicy", "", "open", "endpointSelector: {}\negress: [{toEntities: [world]}]"),
			foreign(t, ciliumV, "CiliumNetworkPolicy", "prod", "shut", "endpointSelector: {}\negressDeny: [{toEntities: [world], toPorts: [{ports: [{port: \"443\"}]}]}]")},
			[]string{"CiliumClusterwideNetworkPolicy open|egress[0]|egress to entity world on any port|"}},
		"calico, an earlier deny": {[]reach.Foreign{foreign(t, calicoV, "GlobalNetworkPolicy", "", "a", "{order: 1, selector: all(), types: [Egress], egress: [{action: Deny}]}"),
			foreign(t, calicoV, "GlobalNetworkPolicy", "", "b", "{order: 2, selector: all(), types: [Egress], egress: [{action: Allow}]}")}, nil},
		"calico, a later deny": {[]reach.Foreign{foreign(t, calicoV, "GlobalNetworkPolicy", "", "a", "{order: 3, selector: all(), types: [Egress], egress: [{action: Deny}]}"),
			foreign(t, calicoV, "GlobalNetworkPolicy", "", "b", "{order: 2, selector: all(), types: [Egress], egress: [{action: Allow, protocol: UDP, destination: {ports: [53]}}]}")},
			[]string{"Calico GlobalNetworkPolicy b|egress[0]|egress to any peer on UDP port 53|"}},
		"cluster, admin": {[]reach.Foreign{foreign(t, clusterV, "ClusterNetworkPolicy", "", "dns", "{tier: Admin, priority: 5, subject: {namespaces: {}}, egress: [{action: Accept, to: [{namespaces: {}}], protocols: [{udp: {destinationPort: {number: 53}}}]}]}")},
			[]string{"ClusterNetworkPolicy dns|egress[0]|egress to any pod in any namespace on UDP/53|"}},
		"not read": {[]reach.Foreign{foreign(t, ciliumV, "CiliumNetworkPolicy", "prod", "new", "endpointSelector: {}\nmoon: 1")},
			[]string{"CiliumNetworkPolicy prod/new|ingress|ingress that cannot be told from here|json: unknown field \"moon\"", "CiliumNetworkPolicy prod/new|egress|egress that cannot be told from here|json: unknown field \"moon\""}},
	} {
		t.Run(name, func(t *testing.T) {
			p := reach.Policies{Foreign: c.all}
			var got []string
			for _, r := range p.Residuals(*self().Pod, map[string]string{"irkit.dev/quarantine": "c-1"}) {
				got = append(got, strings.Join([]string{r.Policy, r.Rule, r.Text, strings.TrimPrefix(r.Unsure, "read its specification: ")}, "|"))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// FuzzForeign: whatever a tenant stores is read or is Unsure; nothing ends the program.
func FuzzForeign(f *testing.F) {
	for _, s := range []string{`{"endpointSelector":{},"egress":[{"toPorts":[{"ports":[{"port":"x"}]}]}]}`, `{"selector":"a in {'b'} && !(has(c) || all())","egress":[{"action":"Allow"}]}`,
		`{"tier":"Admin","subject":{"namespaces":{}},"egress":[{"action":"Pass","to":[{"networks":["::/0"]}]}]}`, `[]`, `{"specs":null}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		if !json.Valid([]byte(spec)) {
			return
		}
		for _, kind := range []struct{ v, k string }{{ciliumV, "CiliumNetworkPolicy"}, {calicoV, "NetworkPolicy"}, {clusterV, "ClusterNetworkPolicy"}} {
			p := reach.Policies{Foreign: []reach.Foreign{{Object: evidence.Object{APIVersion: kind.v, Kind: kind.k, Namespace: "prod", Name: "x"}, Spec: json.RawMessage(spec)}}}
			for _, d := range []networkingv1.PolicyType{in, out} {
				p.Decide(self(), reach.Flow{Direction: d, Peer: reach.Endpoint{IP: netip.MustParseAddr("198.51.100.5")}, Protocol: "TCP", Port: 1})
			}
			p.Residuals(*self().Pod, nil)
		}
	})
}
