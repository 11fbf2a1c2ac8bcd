package identity

import (
	"fmt"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"irkit.dev/irkit/lab/place"
)

// Kubeconfig is the file with which a daemon inside the lab uses an identity.
func Kubeconfig(layout place.Layout, identity string) string {
	return layout.StatePath("pki", identity+".kubeconfig")
}

func writeKubeconfigs(layout place.Layout) error {
	for _, identity := range []string{Admin, Controllers, Scheduler, Kubelet, Proxy} {
		if err := writeKubeconfig(layout, identity, place.APIServerInside, Kubeconfig(layout, identity)); err != nil {
			return err
		}
	}
	if err := writeKubeconfig(layout, Responder, place.APIServerOutside, layout.ResponderKubeconfig()); err != nil {
		return err
	}
	return writeKubeconfig(layout, Admin, place.APIServerOutside, layout.Kubeconfig())
}

// writeKubeconfig embeds key and certificates, so that the file can be carried
// away, and lets nobody else read it.
func writeKubeconfig(layout place.Layout, identity, server, path string) error {
	read := func(path string, into *[]byte) error {
		content, err := os.ReadFile(path)
		*into = content
		return err
	}
	cluster, user := api.NewCluster(), api.NewAuthInfo()
	cluster.Server = "https://" + server
	for from, into := range map[string]*[]byte{
		layout.Authority():           &cluster.CertificateAuthorityData,
		layout.Certificate(identity): &user.ClientCertificateData,
		layout.Key(identity):         &user.ClientKeyData,
	} {
		if err := read(from, into); err != nil {
			return err
		}
	}
	context := api.NewContext()
	context.Cluster, context.AuthInfo = "lab", identity

	config := api.NewConfig()
	config.Clusters["lab"], config.AuthInfos[identity], config.Contexts["lab"] = cluster, user, context
	config.CurrentContext = "lab"
	content, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("cannot write a kubeconfig: %w", err)
	}
	return os.WriteFile(path, content, 0o600)
}
