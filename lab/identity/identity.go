package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"os"

	"irkit.dev/irkit/lab/place"
)

// The files of the identities that daemons use.
const (
	APIServer     = "apiserver"
	KubeletClient = "kubelet-client" // the API server, towards the kubelet
	Admin         = "admin"
	Responder     = "responder"
	Controllers   = "controllers"
	Scheduler     = "scheduler"
	Kubelet       = "kubelet"
	Proxy         = "proxy"
	Store         = "store"
	Accounts      = "accounts" // the key pair that signs service account tokens
)

// Make creates every certificate, key and kubeconfig of a new lab.
func Make(layout place.Layout) error {
	if err := os.MkdirAll(layout.StatePath("pki"), 0o755); err != nil {
		return err
	}
	a, err := newAuthority(layout)
	if err != nil {
		return err
	}
	for _, h := range holders() {
		if err := a.sign(h); err != nil {
			return err
		}
	}
	if err := makeAccounts(layout); err != nil {
		return err
	}
	return writeKubeconfigs(layout)
}

func holders() []holder {
	const masters = "system:masters"
	return []holder{
		{file: APIServer, name: "kube-apiserver",
			ips: []string{"127.0.0.1", place.NodeIP, place.NodeIP6, place.APIService},
			names: []string{"localhost", "kubernetes", "kubernetes.default",
				"kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		// exec and logs fail unless the kubelet's certificate carries the node's address.
		{file: Kubelet, name: "system:node:" + place.NodeName, group: "system:nodes",
			ips: []string{"127.0.0.1", place.NodeIP, place.NodeIP6}, names: []string{place.NodeName}},
		{file: Store, name: "versitygw",
			ips: []string{"127.0.0.1", place.NodeIP, place.NodeIP6}, names: []string{"localhost"}},
		{file: KubeletClient, name: "kube-apiserver-kubelet-client", group: masters},
		{file: Admin, name: "admin", group: masters},
		{file: Responder, name: "responder"},
		{file: Controllers, name: "system:kube-controller-manager"},
		{file: Scheduler, name: "system:kube-scheduler"},
		{file: Proxy, name: "system:kube-proxy"},
	}
}

func makeAccounts(layout place.Layout) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := writeKey(layout.Key(Accounts), key); err != nil {
		return err
	}
	return writePEM(AccountsPublic(layout), "PUBLIC KEY", public, 0o644)
}

// AccountsPublic is what the API server checks service account tokens with.
func AccountsPublic(layout place.Layout) string {
	return layout.StatePath("pki", Accounts+".pub")
}
