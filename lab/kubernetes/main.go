// Command hyperkube holds every Kubernetes part of the lab in one binary: the
// first argument names the part, the rest is that part's own command line.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

const usage = "usage: hyperkube etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kube-proxy|kubelet [FLAG]..."

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	// Each part reads os.Args itself and expects its own name in front.
	part := os.Args[1]
	os.Args = append([]string{part}, os.Args[2:]...)

	if part == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	command := find(part)
	if command == nil {
		fmt.Fprintf(os.Stderr, "hyperkube: unknown part %q\n%s\n", part, usage)
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}

// find returns the command of a Kubernetes part, or nil for a name it does not
// know. Only the one asked for is built: building registers global metrics.
func find(part string) *cobra.Command {
	switch part {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kube-proxy":
		return proxy.NewProxyCommand()
	case "kubelet":
		return kubelet.NewKubeletCommand(context.Background())
	}
	return nil
}
