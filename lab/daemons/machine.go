package daemons

import (
	"irkit.dev/irkit/lab/identity"
	"irkit.dev/irkit/lab/node"
	"irkit.dev/irkit/lab/place"
)

// Containerd runs the containers.
func (s Setup) Containerd() node.Daemon {
	return s.daemon("containerd", node.Inside,
		s.Parts.Binary("containerd", "containerd"), "--config", s.file("containerd.toml"))
}

// KubeletRoot is where the node sees the kubelet's directory: where every node
// has it. On the machine it is the state directory's kubelet.
const KubeletRoot = "/var/lib/kubelet"

// Kubelet exits at once unless containerd answers already.
func (s Setup) Kubelet() node.Daemon {
	return s.hyperkube("kubelet",
		"--config="+s.file("kubelet.yaml"),
		"--kubeconfig="+identity.Kubeconfig(s.Layout, identity.Kubelet),
		"--hostname-override="+place.NodeName,
		"--node-ip="+s.both(place.NodeIP, place.NodeIP6),
		"--root-dir="+KubeletRoot,
		"--v=1")
}

// Network is what makes pods and Services reachable.
func (s Setup) Network() []node.Daemon {
	if s.CNI == Bridge {
		return []node.Daemon{s.proxy()}
	}
	return []node.Daemon{s.ciliumOperator(), s.ciliumAgent()}
}

// proxy leaves the machine's connection tracking alone: a network namespace may
// not change its size.
func (s Setup) proxy() node.Daemon {
	return s.hyperkube("kube-proxy",
		"--kubeconfig="+identity.Kubeconfig(s.Layout, identity.Proxy),
		"--hostname-override="+place.NodeName,
		"--proxy-mode=nftables",
		"--cluster-cidr="+s.both(place.PodCIDR, place.PodCIDR6),
		"--conntrack-max-per-core=0",
		"--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s")
}

func (s Setup) ciliumOperator() node.Daemon {
	d := s.daemon("cilium-operator", node.Inside, s.Parts.Binary("cilium", "operator"),
		"--k8s-kubeconfig-path="+identity.Kubeconfig(s.Layout, identity.Admin),
		"--ipam=kubernetes",
		"--operator-api-serve-addr=127.0.0.1:9234")
	d.Env = append(d.Env, "K8S_NODE_NAME="+place.NodeName)
	return d
}

// ciliumAgent keeps its usual socket and state paths, where its CNI plugin looks:
// the node's /run is not the machine's.
func (s Setup) ciliumAgent() node.Daemon {
	d := s.daemon("cilium-agent", node.Inside, s.Parts.Binary("cilium", "daemon"),
		"--k8s-kubeconfig-path="+identity.Kubeconfig(s.Layout, identity.Admin),
		"--ipam=kubernetes",
		"--routing-mode=native", "--ipv4-native-routing-cidr="+place.PodCIDR,
		"--enable-ipv4=true", "--enable-ipv6=false", "--enable-ipv4-masquerade=false",
		// Both are the node's way out: what comes in over them is the world.
		"--devices="+place.NodeDevice+","+place.GatewayDevice,
		"--direct-routing-device="+place.NodeDevice,
		"--kube-proxy-replacement=true",
		"--identity-allocation-mode=crd",
		"--enable-l7-proxy=false", "--enable-envoy-config=false", "--enable-hubble=false",
		"--enable-health-checking=false", "--enable-endpoint-health-checking=false",
		"--lib-dir="+s.Parts["cilium"],
		"--bpf-root=/sys/fs/bpf", "--cgroup-root="+node.Cgroup2View)
	d.Env = append(d.Env, "K8S_NODE_NAME="+place.NodeName)
	return d
}
