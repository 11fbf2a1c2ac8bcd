package daemons

import (
	"irkit.dev/irkit/lab/identity"
	"irkit.dev/irkit/lab/node"
	"irkit.dev/irkit/lab/place"
)

const etcdURL = "http://127.0.0.1:2379"

func (s Setup) hyperkube(name string, flags ...string) node.Daemon {
	return s.daemon(name, node.Inside, append([]string{s.Parts.Binary("kubernetes", "hyperkube"), name}, flags...)...)
}

// Etcd forgets everything when the lab goes down, so it need not wait for disks.
func (s Setup) Etcd() node.Daemon {
	return s.hyperkube("etcd",
		"--data-dir="+s.Layout.StatePath("etcd"),
		"--listen-client-urls="+etcdURL, "--advertise-client-urls="+etcdURL,
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--unsafe-no-fsync")
}

// APIServer writes its audit log to log/audit.log, at level Metadata, and keeps at most
// 300 MB of it.
func (s Setup) APIServer() node.Daemon {
	l := s.Layout
	return s.hyperkube("kube-apiserver",
		"--etcd-servers="+etcdURL,
		"--bind-address=0.0.0.0", "--secure-port=6443",
		"--advertise-address="+place.NodeIP,
		"--service-cluster-ip-range="+s.both(place.ServiceCIDR, place.ServiceCIDR6),
		"--client-ca-file="+l.Authority(),
		"--tls-cert-file="+l.Certificate(identity.APIServer),
		"--tls-private-key-file="+l.Key(identity.APIServer),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+identity.AccountsPublic(l),
		"--service-account-signing-key-file="+l.Key(identity.Accounts),
		"--kubelet-certificate-authority="+l.Authority(),
		"--kubelet-client-certificate="+l.Certificate(identity.KubeletClient),
		"--kubelet-client-key="+l.Key(identity.KubeletClient),
		"--kubelet-preferred-address-types=InternalIP,Hostname",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--audit-policy-file="+s.file("audit.yaml"),
		"--audit-log-path="+l.StatePath("log", "audit.log"),
		"--audit-log-maxsize=100", "--audit-log-maxbackup=2")
}

// Controllers is the controller manager.
func (s Setup) Controllers() node.Daemon {
	config := identity.Kubeconfig(s.Layout, identity.Controllers)
	return s.hyperkube("kube-controller-manager",
		"--kubeconfig="+config, "--authentication-kubeconfig="+config, "--authorization-kubeconfig="+config,
		"--root-ca-file="+s.Layout.Authority(),
		"--service-account-private-key-file="+s.Layout.Key(identity.Accounts),
		"--use-service-account-credentials=true",
		"--cluster-cidr="+s.both(place.PodCIDR, place.PodCIDR6), "--allocate-node-cidrs=true",
		"--service-cluster-ip-range="+s.both(place.ServiceCIDR, place.ServiceCIDR6),
		"--flex-volume-plugin-dir="+s.Layout.StatePath("volume-plugins"),
		"--leader-elect=false")
}

// Scheduler binds pods to the one node there is.
func (s Setup) Scheduler() node.Daemon {
	config := identity.Kubeconfig(s.Layout, identity.Scheduler)
	return s.hyperkube("kube-scheduler",
		"--kubeconfig="+config, "--authentication-kubeconfig="+config, "--authorization-kubeconfig="+config,
		"--leader-elect=false")
}
