package quarantine

import (
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/reach"
)

// Scene is what stood around the target when it was surveyed: enough to forecast, to
// prepare every layer and to judge, with no further read. It is a plain value, kept
// as meta/scene.json, and holds no value of an environment variable, no command
// line and no last-applied-configuration.
type Scene struct {
	Taken     time.Time                      `json:"taken"`
	Version   string                         `json:"kubernetes_version,omitempty"`
	Target    evidence.Target                `json:"target"`
	Pod       corev1.Pod                     `json:"pod"`
	Node      *Node                          `json:"node,omitempty"`
	Namespace Namespace                      `json:"namespace"`
	Policies  []networkingv1.NetworkPolicy   `json:"network_policies"`
	Services  []corev1.Service               `json:"services"`
	Slices    []discoveryv1.EndpointSlice    `json:"endpoint_slices"`
	Budgets   []policyv1.PodDisruptionBudget `json:"pod_disruption_budgets"`
	Owners    []Owner                        `json:"owners"` // the pod's owners first, then theirs
	Siblings  []Sibling                      `json:"siblings"`
	APIServer []netip.AddrPort               `json:"api_server"` // ClusterIPs of Service kubernetes
	DNS       []netip.AddrPort               `json:"dns"`        // ClusterIPs of the DNS Service
	// What stands behind those two: a plugin that translates a Service's address at the
	// socket leaves nothing of it on the wire, so that only these can be tried alone.
	APIBehind  []netip.AddrPort `json:"api_server_behind,omitempty"`
	DNSBehind  []netip.AddrPort `json:"dns_behind,omitempty"`
	CNI        CNI              `json:"cni"`
	Quarantine *Held            `json:"quarantine,omitempty"` // what irkit left on the target
	Reapers    []string         `json:"reapers,omitempty"`    // what deletes pods without owner
	// Foreign are the policies of other kinds than NetworkPolicy that could decide here.
	Foreign  []reach.Foreign `json:"foreign_policies,omitempty"`
	Identity *Identity       `json:"identity,omitempty"` // what the target's service account is; nil: not surveyed
	Gaps     []Gap           `json:"gaps,omitempty"`
	NodePods NodePods        `json:"node_pods"`
}

// Node is the target's node.
type Node struct {
	Name          string         `json:"name"`
	UID           string         `json:"uid"`
	Addresses     []netip.Addr   `json:"addresses"`
	PodCIDRs      []netip.Prefix `json:"pod_cidrs,omitempty"`
	CNIHost       []netip.Addr   `json:"cni_host,omitempty"` // CiliumInternalIP: where Cilium's probes come from
	Unschedulable bool           `json:"unschedulable"`
	OS            string         `json:"os"`
	Arch          string         `json:"arch"`
	Kernel        string         `json:"kernel"`
	Runtime       string         `json:"runtime"`
}

// Namespace is the target's namespace.
type Namespace struct {
	Name     string            `json:"name"`
	Labels   map[string]string `json:"labels"`
	Deleting bool              `json:"deleting,omitempty"`
}

// Owner is one object of the owner chain.
type Owner struct {
	evidence.Object
	Controller bool              `json:"controller"` // the managing owner
	Of         string            `json:"of"`         // UID of what it owns: the pod's, or an owner's
	Deleting   bool              `json:"deleting,omitempty"`
	Found      bool              `json:"found"` // it could be read
	Selector   string            `json:"selector,omitempty"`
	Template   *Template         `json:"template,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

// Template says what a replacement is made of.
type Template struct {
	Images         []string `json:"images"`
	Secrets        []string `json:"secrets,omitempty"` // names
	ServiceAccount string   `json:"service_account,omitempty"`
}

// Sibling is another pod of the namespace.
type Sibling struct {
	Name       string                 `json:"name"`
	UID        string                 `json:"uid"`
	Node       string                 `json:"node,omitempty"`
	Phase      string                 `json:"phase"`
	IPs        []netip.Addr           `json:"ips,omitempty"`
	Labels     map[string]string      `json:"labels,omitempty"`
	Ports      []corev1.ContainerPort `json:"ports,omitempty"`
	HostNet    bool                   `json:"host_network,omitempty"`
	SameOwner  bool                   `json:"same_owner,omitempty"`
	Quarantine string                 `json:"quarantine,omitempty"` // the case that holds it
}

// Enforcement says whether a CNI is known to enforce NetworkPolicy. No sign is proof:
// it is measured.
type Enforcement string

// What the signs of a CNI say.
const (
	Enforces Enforcement = "yes"
	Ignores  Enforcement = "no"
	Unknown  Enforcement = "unknown"
)

// CNI is what could be told of the cluster's network.
type CNI struct {
	Name     string      `json:"name"` // cilium, calico, aws-vpc-cni, …; empty: not recognised
	Enforces Enforcement `json:"enforces"`
	Signs    []string    `json:"signs"`          // what it was told by
	Deny     []string    `json:"deny,omitempty"` // API groups there in which a deny could be written
}

// Held is irkit's own mark on a pod.
type Held struct {
	Case     string `json:"case"`
	Label    string `json:"label,omitempty"`    // the quarantine label's value
	Original string `json:"original,omitempty"` // the undo annotation, as found; not yet verified
}

// Gap is an optional read that was refused or failed.
type Gap struct {
	What string `json:"what"`
	Why  string `json:"why"`
}
