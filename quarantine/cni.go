package quarantine

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// plugin is what tells one CNI from another. A running agent is a stronger sign than
// API groups, which stay behind when a plugin is removed.
type plugin struct {
	name     string
	groups   []string
	agents   []string // names of DaemonSets
	enforces Enforcement
}

func plugins() []plugin {
	return []plugin{
		{"cilium", []string{"cilium.io"}, []string{"cilium", "anetd"}, Enforces},
		{"calico", []string{"projectcalico.org", "crd.projectcalico.org"}, []string{"calico-node"}, Enforces},
		{"aws-vpc-cni", []string{"networking.k8s.aws"}, []string{"aws-node"}, Unknown}, // only with its policy agent
		{"antrea", []string{"crd.antrea.io"}, []string{"antrea-agent"}, Enforces},
		{"ovn-kubernetes", []string{"k8s.ovn.org"}, []string{"ovnkube-node"}, Enforces},
		{"kube-ovn", []string{"kubeovn.io"}, []string{"kube-ovn-cni"}, Enforces},
		{"kube-router", nil, []string{"kube-router"}, Enforces},
		{"kindnet", nil, []string{"kindnet"}, Unknown}, // since kind v0.24 only
		{"weave", nil, []string{"weave-net"}, Enforces},
		{"flannel", nil, []string{"kube-flannel-ds", "kube-flannel"}, Ignores},
	}
}

// detectCNI weighs the signs. API groups alone say which plugin it was, not that it
// runs; a CiliumNode with this node's addresses is written by a running agent.
func detectCNI(apis, served []string, agents []appsv1.DaemonSet, marks map[string]string, cilium bool) CNI {
	out := CNI{Enforces: Unknown, Signs: []string{}}
	rank := 0
	for _, p := range plugins() {
		score := 0
		for _, d := range agents {
			if slices.Contains(p.agents, d.Name) {
				score += 10
				out.Signs = append(out.Signs, "DaemonSet "+d.Namespace+"/"+d.Name)
			}
		}
		for _, g := range p.groups {
			if slices.Contains(apis, g) {
				score++
				out.Signs = append(out.Signs, "API group "+g)
			}
		}
		if p.name == "cilium" && cilium {
			score += 5
			out.Signs = append(out.Signs, "CiliumNode of the target's node")
		}
		if score > rank {
			rank, out.Name, out.Enforces = score, p.name, p.enforces
		}
	}
	if rank < 5 {
		out.Enforces = Unknown
	}
	// kube-flannel with Calico for policy only ("canal") has both agents.
	if out.Name == "flannel" && slices.Contains(apis, "crd.projectcalico.org") {
		out.Name, out.Enforces = "canal", Enforces
	}
	if out.Name == "aws-vpc-cni" && policyAgent(agents) {
		out.Enforces = Enforces
		out.Signs = append(out.Signs, "container aws-eks-nodeagent with --enable-network-policy")
	}
	if out.Name == "" && strings.Contains(marks["k3s.io/node-args"], "server") {
		out.Name, out.Enforces = "k3s", Enforces // kube-router is built in
		out.Signs = append(out.Signs, "node annotation k3s.io/node-args")
	}
	for _, d := range deniers() {
		if slices.Contains(served, d.GroupVersion().String()) {
			out.Deny = append(out.Deny, d.Group)
		}
	}
	return out
}

func policyAgent(agents []appsv1.DaemonSet) bool {
	for _, d := range agents {
		for _, c := range d.Spec.Template.Spec.Containers {
			if d.Name == "aws-node" && c.Name == "aws-eks-nodeagent" && slices.Contains(c.Args, "--enable-network-policy=true") {
				return true
			}
		}
	}
	return false
}

// cniHost are the node's addresses in the pod network, where the kubelet's probes come
// from with plugins that give the node one.
func cniHost(cilium []netip.Addr, marks map[string]string) []netip.Addr {
	out := slices.Clone(cilium)
	for _, key := range []string{
		"io.cilium.network.ipv4-cilium-host", "io.cilium.network.ipv6-cilium-host",
		"network.cilium.io/ipv4-cilium-host", "network.cilium.io/ipv6-cilium-host",
		"projectcalico.org/IPv4IPIPTunnelAddr", "projectcalico.org/IPv4VXLANTunnelAddr", "projectcalico.org/IPv6VXLANTunnelAddr",
	} {
		if ip, err := netip.ParseAddr(marks[key]); err == nil && !slices.Contains(out, ip.Unmap()) {
			out = append(out, ip.Unmap())
		}
	}
	return out
}

func (y *surveyor) ciliumNode(ctx context.Context) error {
	if y.scene.Target.Node == "" || y.conn.Dynamic == nil {
		return nil
	}
	gvr := schema.GroupVersionResource{Group: "cilium.io", Version: "v2", Resource: "ciliumnodes"}
	o, err := y.conn.Dynamic.Resource(gvr).Get(ctx, y.scene.Target.Node, metav1.GetOptions{})
	if err != nil {
		if apierrors.IsNotFound(err) || strings.Contains(err.Error(), "no matches") {
			return nil // no Cilium here
		}
		return y.gap("CiliumNode (the address that Cilium's probes come from)", err)
	}
	list, _, _ := unstructured.NestedSlice(o.Object, "spec", "addresses")
	for _, e := range list {
		m, _ := e.(map[string]any)
		if kind, _ := m["type"].(string); kind != "CiliumInternalIP" {
			continue
		}
		text, _ := m["ip"].(string)
		if ip, err := netip.ParseAddr(text); err == nil {
			y.cilium = append(y.cilium, ip.Unmap())
		}
	}
	return nil
}

func (y *surveyor) groups(ctx context.Context) error {
	l, err := discovery.ToDiscoveryInterfaceWithContext(y.conn.Client.Discovery()).ServerGroupsWithContext(ctx)
	if err != nil {
		return y.gap("API groups (to recognise the network plugin)", err)
	}
	for _, g := range l.Groups {
		y.apis = append(y.apis, g.Name)
		for _, v := range g.Versions {
			y.served = append(y.served, v.GroupVersion)
		}
	}
	return y.beyond(ctx)
}

// cleanup finds Kyverno policies that delete pods; the published sample deletes pods
// without owner every five minutes.
func (y *surveyor) cleanup(ctx context.Context) error {
	gvr := schema.GroupVersionResource{Group: "kyverno.io", Version: "v2", Resource: "clustercleanuppolicies"}
	l, err := y.conn.Dynamic.Resource(gvr).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return y.gap("Kyverno cleanup policies (which may delete a pod without owner)", err)
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, o := range l.Items {
		y.scene.Reapers = append(y.scene.Reapers, "Kyverno ClusterCleanupPolicy "+o.GetName())
	}
	return nil
}

func (y *surveyor) daemonSets(ctx context.Context) error {
	return y.gap("DaemonSets (to recognise the network plugin)", pages(func(o metav1.ListOptions) (string, error) {
		l, err := y.conn.Client.AppsV1().DaemonSets(metav1.NamespaceAll).List(ctx, o)
		if err != nil {
			return "", err
		}
		y.agents = append(y.agents, l.Items...)
		return l.Continue, nil
	}))
}

// apiServer reads an address that every cluster has.
func (y *surveyor) apiServer(ctx context.Context) error {
	api, err := y.conn.Client.CoreV1().Services(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		return y.gap("Service kubernetes (the API server's address)", err)
	}
	y.scene.APIServer = clusterIPs(api, corev1.ProtocolTCP)
	y.scene.APIBehind = y.behind(ctx, api)
	return nil
}

// dns reads the address that pods send their questions to.
func (y *surveyor) dns(ctx context.Context) error {
	dns, err := y.conn.Client.CoreV1().Services(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns", Limit: page})
	if err != nil {
		return y.gap("the DNS Service", err)
	}
	for i := range dns.Items {
		y.scene.DNS = append(y.scene.DNS, clusterIPs(&dns.Items[i], corev1.ProtocolUDP)...)
		y.scene.DNSBehind = append(y.scene.DNSBehind, y.behind(ctx, &dns.Items[i])...)
	}
	return nil
}

// behind is where a Service's first TCP port leads.
func (y *surveyor) behind(ctx context.Context, s *corev1.Service) []netip.AddrPort {
	list, err := y.conn.Client.DiscoveryV1().EndpointSlices(s.Namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + s.Name, Limit: page})
	if err != nil {
		_ = y.gap("what stands behind Service "+s.Namespace+"/"+s.Name, err)
		return nil
	}
	var out []netip.AddrPort
	for i := range list.Items {
		for _, p := range list.Items[i].Ports {
			if p.Port == nil || p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP || p.Name != nil && *p.Name == "metrics" {
				continue
			}
			for _, e := range list.Items[i].Endpoints {
				for _, text := range e.Addresses {
					if ip, err := netip.ParseAddr(text); err == nil {
						out = append(out, netip.AddrPortFrom(ip.Unmap(), uint16(*p.Port)))
					}
				}
			}
		}
	}
	return out
}

func clusterIPs(s *corev1.Service, proto corev1.Protocol) []netip.AddrPort {
	var out []netip.AddrPort
	for _, text := range s.Spec.ClusterIPs {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			continue // "None"
		}
		for _, p := range s.Spec.Ports {
			if p.Protocol == proto || (p.Protocol == "" && proto == corev1.ProtocolTCP) {
				out = append(out, netip.AddrPortFrom(ip.Unmap(), uint16(p.Port)))
			}
		}
	}
	return out
}
