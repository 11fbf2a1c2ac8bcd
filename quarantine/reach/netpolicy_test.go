package reach_test

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"irkit.dev/irkit/quarantine/reach"
)

const (
	in  = networkingv1.PolicyTypeIngress
	out = networkingv1.PolicyTypeEgress
)

func policy(t testing.TB, spec string) networkingv1.NetworkPolicy {
	t.Helper()
	p := networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "prod"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatalf("%s: %v", spec, err)
	}
	return p
}

// self is the subject of every row: app=web in prod, 10.0.0.7, http 8080 and metrics 9090/UDP.
func self() reach.Endpoint {
	return reach.Endpoint{IP: netip.MustParseAddr("10.0.0.7"), Pod: &reach.PodEnd{
		Namespace: "prod", NamespaceLabels: map[string]string{"env": "prod"}, Labels: map[string]string{"app": "web", "tier": "front"},
		Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}, {Name: "metrics", ContainerPort: 9090, Protocol: corev1.ProtocolUDP}},
	}}
}

func peers() map[string]reach.Endpoint {
	return map[string]reach.Endpoint{
		"db": {IP: netip.MustParseAddr("10.0.0.8"), Pod: &reach.PodEnd{Namespace: "prod", NamespaceLabels: map[string]string{"env": "prod"},
			Labels: map[string]string{"app": "db"}, Ports: []corev1.ContainerPort{{Name: "sql", ContainerPort: 5432}}}},
		"dns": {IP: netip.MustParseAddr("10.0.1.9"), Pod: &reach.PodEnd{Namespace: "kube-system", NamespaceLabels: map[string]string{"kubernetes.io/metadata.name": "kube-system"},
			Labels: map[string]string{"k8s-app": "kube-dns"}, Ports: []corev1.ContainerPort{{Name: "dns", ContainerPort: 53, Protocol: corev1.ProtocolUDP}}}},
		"net":  {IP: netip.MustParseAddr("198.51.100.5")},
		"net6": {IP: netip.MustParseAddr("2001:db8::5")},
		"self": {IP: netip.MustParseAddr("10.0.0.7")},
	}
}

func TestAllowed(t *testing.T) {
	const all, deny = "podSelector: {}\n", "podSelector: {}\npolicyTypes: [Ingress, Egress]\n"
	to := func(rule string) string { return "podSelector: {}\npolicyTypes: [Egress]\negress:\n- " + rule + "\n" }
	from := func(rule string) string {
		return "podSelector: {}\npolicyTypes: [Ingress]\ningress:\n- " + rule + "\n"
	}
	for name, c := range map[string]struct {
		specs []string
		dir   networkingv1.PolicyType
		peer  string
		proto corev1.Protocol
		port  uint16
		want  bool
	}{
		"no policy: not isolated":                      {nil, out, "net", "TCP", 443, true},
		"no types: ingress is isolated":                {[]string{all}, in, "net", "TCP", 8080, false},
		"no types and no egress: egress is not":        {[]string{all}, out, "net", "TCP", 443, true},
		"no types and egress rules: egress is":         {[]string{all + "egress:\n- to:\n  - podSelector: {matchLabels: {app: db}}\n"}, out, "net", "TCP", 443, false},
		"no types and empty egress: egress is not":     {[]string{all + "egress: []\n"}, out, "net", "TCP", 443, true},
		"deny all: out":                                {[]string{deny}, out, "db", "TCP", 5432, false},
		"deny all: in":                                 {[]string{deny}, in, "db", "TCP", 8080, false},
		"deny all: itself":                             {[]string{deny}, out, "self", "TCP", 8080, true},
		"only ingress: egress is free":                 {[]string{"podSelector: {}\npolicyTypes: [Ingress]\n"}, out, "net", "TCP", 1, true},
		"only egress: ingress is free":                 {[]string{"podSelector: {}\npolicyTypes: [Egress]\n"}, in, "net", "TCP", 1, true},
		"selector does not match":                      {[]string{"podSelector: {matchLabels: {app: db}}\npolicyTypes: [Egress]\n"}, out, "net", "TCP", 1, true},
		"selector matches":                             {[]string{"podSelector: {matchLabels: {app: web}}\npolicyTypes: [Egress]\n"}, out, "net", "TCP", 1, false},
		"In matches":                                   {[]string{"podSelector: {matchExpressions: [{key: app, operator: In, values: [web, db]}]}\npolicyTypes: [Egress]\n"}, out, "net", "TCP", 1, false},
		"In does not match an absent key":              {[]string{"podSelector: {matchExpressions: [{key: gone, operator: In, values: [web]}]}\npolicyTypes: [Egress]\n"}, out, "net", "TCP", 1, true},
		"NotIn matches an absent key":                  {[]string{"podSelector: {matchExpressions: [{key: gone, operator: NotIn, values: [web]}]}\npolicyTypes: [Egress]\n"}, out, "net", "TCP", 1, false},
		"NotIn does not match its value":               {[]string{"podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}\npolicyTypes: [Egress]\n"}, out, "net", "TCP", 1, true},
		"Exists matches":                               {[]string{"podSelector: {matchExpressions: [{key: app, operator: Exists}]}\npolicyTypes: [Egress]\n"}, out, "net", "TCP", 1, false},
		"DoesNotExist matches":                         {[]string{"podSelector: {matchExpressions: [{key: gone, operator: DoesNotExist}]}\npolicyTypes: [Egress]\n"}, out, "net", "TCP", 1, false},
		"expressions are all to hold":                  {[]string{"podSelector: {matchExpressions: [{key: app, operator: Exists}, {key: gone, operator: Exists}]}\npolicyTypes: [Egress]\n"}, out, "net", "TCP", 1, true},
		"empty rule: everything out":                   {[]string{to("{}")}, out, "net", "SCTP", 1, true},
		"empty rule: everything in":                    {[]string{from("{}")}, in, "net", "UDP", 1, true},
		"union: one policy allows":                     {[]string{deny, to("{}")}, out, "net", "TCP", 1, true},
		"pods of the namespace: yes":                   {[]string{to("to: [{podSelector: {matchLabels: {app: db}}}]")}, out, "db", "TCP", 5432, true},
		"pods of the namespace: not elsewhere":         {[]string{to("to: [{podSelector: {}}]")}, out, "dns", "UDP", 53, false},
		"pods of the namespace: no address":            {[]string{to("to: [{podSelector: {}}]")}, out, "net", "TCP", 1, false},
		"any namespace":                                {[]string{to("to: [{namespaceSelector: {}}]")}, out, "dns", "UDP", 53, true},
		"any namespace: no address":                    {[]string{to("to: [{namespaceSelector: {}}]")}, out, "net", "TCP", 53, false},
		"named namespace":                              {[]string{to("to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]")}, out, "dns", "UDP", 53, true},
		"named namespace: other":                       {[]string{to("to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]")}, out, "db", "TCP", 5432, false},
		"both selectors: both hold":                    {[]string{to("to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]")}, out, "dns", "UDP", 53, true},
		"both selectors: pod does not":                 {[]string{to("to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]")}, out, "db", "TCP", 53, false},
		"two peers: one is enough":                     {[]string{to("to: [{podSelector: {matchLabels: {app: x}}}, {ipBlock: {cidr: 198.51.100.0/24}}]")}, out, "net", "TCP", 1, true},
		"block contains":                               {[]string{to("to: [{ipBlock: {cidr: 198.51.100.0/24}}]")}, out, "net", "TCP", 1, true},
		"block excepts":                                {[]string{to("to: [{ipBlock: {cidr: 198.51.100.0/24, except: [198.51.100.0/28]}}]")}, out, "net", "TCP", 1, false},
		"block of another family":                      {[]string{to("to: [{ipBlock: {cidr: 0.0.0.0/0}}]")}, out, "net6", "TCP", 1, false},
		"block of six":                                 {[]string{to("to: [{ipBlock: {cidr: '2001:db8::/32'}}]")}, out, "net6", "TCP", 1, true},
		"block matches a pod's address":                {[]string{to("to: [{ipBlock: {cidr: 10.0.0.0/8}}]")}, out, "db", "TCP", 5432, true},
		"port matches":                                 {[]string{to("ports: [{port: 443}]")}, out, "net", "TCP", 443, true},
		"port does not":                                {[]string{to("ports: [{port: 443}]")}, out, "net", "TCP", 444, false},
		"protocol defaults to TCP":                     {[]string{to("ports: [{port: 53}]")}, out, "dns", "UDP", 53, false},
		"protocol UDP":                                 {[]string{to("ports: [{port: 53, protocol: UDP}]")}, out, "dns", "UDP", 53, true},
		"protocol SCTP, any port":                      {[]string{to("ports: [{protocol: SCTP}]")}, out, "net", "SCTP", 77, true},
		"endPort: last":                                {[]string{to("ports: [{port: 100, endPort: 200}]")}, out, "net", "TCP", 200, true},
		"endPort: one over":                            {[]string{to("ports: [{port: 100, endPort: 200}]")}, out, "net", "TCP", 201, false},
		"endPort: one under":                           {[]string{to("ports: [{port: 100, endPort: 200}]")}, out, "net", "TCP", 99, false},
		"named port in: the subject's":                 {[]string{from("ports: [{port: http}]")}, in, "net", "TCP", 8080, true},
		"named port in: other number":                  {[]string{from("ports: [{port: http}]")}, in, "net", "TCP", 8081, false},
		"named port in: protocol is part of it":        {[]string{from("ports: [{port: metrics}]")}, in, "net", "TCP", 9090, false},
		"named port in: UDP":                           {[]string{from("ports: [{port: metrics, protocol: UDP}]")}, in, "net", "UDP", 9090, true},
		"named port out: the peer's":                   {[]string{to("ports: [{port: sql}]")}, out, "db", "TCP", 5432, true},
		"named port out: not the subject's":            {[]string{to("ports: [{port: http}]")}, out, "db", "TCP", 8080, false},
		"named port out: an address has none":          {[]string{to("ports: [{port: sql}]")}, out, "net", "TCP", 5432, false},
		"peer and port are both to hold":               {[]string{to("{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 1}]}")}, out, "db", "TCP", 5432, false},
		"peer of one rule, port of another":            {[]string{to("{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 1}]}\n- ports: [{port: 5432}]")}, out, "db", "TCP", 5432, true},
		"a selector that cannot be read must not hide": {[]string{"podSelector: {matchExpressions: [{key: app, operator: Foo}]}\npolicyTypes: [Egress]\negress: [{}]\n", deny}, out, "net", "TCP", 1, true},
		"a block that cannot be read must not hide":    {[]string{to("to: [{ipBlock: {cidr: nonsense}}]")}, out, "net", "TCP", 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			var ps []networkingv1.NetworkPolicy
			for i, s := range c.specs {
				p := policy(t, s)
				p.Name = fmt.Sprintf("p%d", i)
				ps = append(ps, p)
			}
			got, by := reach.Allowed(ps, self(), reach.Flow{Direction: c.dir, Peer: peers()[c.peer], Protocol: c.proto, Port: c.port})
			if got != c.want {
				t.Errorf("allowed %v by %v, want %v", got, by, c.want)
			}
			for i := range ps { // a policy of another namespace never counts
				ps[i].Namespace = "elsewhere"
			}
			if got, _ := reach.Allowed(ps, self(), reach.Flow{Direction: c.dir, Peer: peers()[c.peer], Protocol: c.proto, Port: c.port}); !got {
				t.Error("policies of another namespace isolate the pod")
			}
		})
	}
}

func TestResiduals(t *testing.T) {
	ps := []networkingv1.NetworkPolicy{
		policy(t, "podSelector: {}\npolicyTypes: [Egress]\negress:\n- {to: [{namespaceSelector: {matchLabels: {name: dns}}}], ports: [{port: 53, protocol: UDP}]}\n"),
		policy(t, "podSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}\npolicyTypes: [Ingress]\ningress: [{}]\n"),
		policy(t, "podSelector: {matchLabels: {app: web}}\npolicyTypes: [Egress]\negress: [{}]\n"),
		policy(t, "podSelector: {}\npolicyTypes: [Ingress, Egress]\n"),
		policy(t, "podSelector: {}\npolicyTypes: [Ingress]\negress: [{}]\n"),
	}
	for i, n := range []string{"dns", "starts", "stripped", "deny", "not-its-type"} {
		ps[i].Name = n
	}
	got := reach.Policies{Network: ps}.Residuals(reach.PodEnd{Namespace: "prod", Labels: map[string]string{"app": "web"}}, map[string]string{"irkit.dev/quarantine": "c-1"})
	if len(got) != 2 || got[0].Policy != "starts" || !got[0].Starts || got[1].Policy != "dns" || got[1].Starts {
		t.Fatalf("%+v", got)
	}
	if want := "egress to any pod in namespaces with name=dns on UDP/53"; got[1].Text != want {
		t.Errorf("%q, want %q", got[1].Text, want)
	}
}
