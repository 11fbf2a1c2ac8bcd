// Package daemons says which programs make up the lab, with which command lines
// and configuration.
package daemons

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"irkit.dev/irkit/lab/network"
	"irkit.dev/irkit/lab/node"
	"irkit.dev/irkit/lab/parts"
	"irkit.dev/irkit/lab/place"
)

//go:embed config
var config embed.FS

// The networks that a lab can have.
const (
	Cilium = "cilium" // enforces NetworkPolicy
	Bridge = "bridge" // ignores it
)

// Setup knows what the daemons of one lab need to know of each other.
type Setup struct {
	Layout place.Layout
	Parts  parts.Set
	CNI    string
	Self   string // this program, for the daemons that are verbs of it
}

// Prepare writes the configuration files. It comes before every daemon:
// containerd does not notice a network configuration that is moved into place.
func (s Setup) Prepare() error {
	for _, directory := range []string{"manifests", "volume-plugins", "cni", "config"} {
		if err := os.MkdirAll(s.Layout.StatePath(directory), 0o755); err != nil {
			return err
		}
	}
	if err := s.seedVolume(); err != nil {
		return fmt.Errorf("cannot fill the scene's volume: %w", err)
	}
	for name, to := range map[string]string{
		"audit.yaml":        s.file("audit.yaml"),
		"kubelet.yaml":      s.file("kubelet.yaml"),
		"containerd.toml":   s.file("containerd.toml"),
		s.CNI + ".conflist": s.Layout.StatePath("cni", "05-"+s.CNI+".conflist"),
	} {
		if err := s.render(name, to); err != nil {
			return fmt.Errorf("cannot write %s: %w", to, err)
		}
	}
	return nil
}

func (s Setup) file(name string) string { return s.Layout.StatePath("config", name) }

func (s Setup) render(name, to string) error {
	parsed, err := template.ParseFS(config, "config/"+name)
	if err != nil {
		return err
	}
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	defer file.Close()
	return parsed.Execute(file, s)
}

// The rest is what the configuration files ask for.

// DNSService is the address that pods send their questions to.
func (s Setup) DNSService() string { return place.DNSService }

// ControlGroup is what the kubelet makes its own groups in.
func (s Setup) ControlGroup() string { return place.ControlGroup }

// Runc starts the containers.
func (s Setup) Runc() string { return s.Parts.Binary("runc", "runc") }

// NodePodCIDR is the first share of the pods' addresses: the only node's.
func (s Setup) NodePodCIDR() string { return "10.244.0.0/24" }

// NodePodCIDR6 is the same of the second family.
func (s Setup) NodePodCIDR6() string { return "fd00:10:244::/64" }

// DualStack reports whether pods, Services and the node have IPv6 beside IPv4.
func (s Setup) DualStack() bool { return s.CNI == Bridge && network.HasIPv6() }

// both joins what a cluster of two families has of each; the first is the primary.
func (s Setup) both(first, second string) string {
	if !s.DualStack() {
		return first
	}
	return first + "," + second
}

// PluginDirs is where containerd looks for CNI plugins: Cilium's, then Debian's.
func (s Setup) PluginDirs() []string {
	dirs := []string{"/usr/lib/cni"}
	if s.CNI == Cilium {
		dirs = append(dirs, s.Parts["cilium"])
	}
	return dirs
}

// path is what the daemons find programs in: runc and the shim, clang for
// Cilium, and the machine's own.
func (s Setup) path() string {
	return fmt.Sprintf("PATH=%s:%s:%s:/usr/sbin:/usr/bin:/sbin:/bin",
		s.Parts["containerd"], filepath.Dir(s.Runc()), "/usr/lib/llvm-19/bin")
}

// daemon fills in what every daemon has.
func (s Setup) daemon(name string, network node.Network, argv ...string) node.Daemon {
	return node.Daemon{
		Name: name, Argv: argv, Network: network,
		Env: []string{s.path()}, Log: s.Layout.Log(name),
	}
}
