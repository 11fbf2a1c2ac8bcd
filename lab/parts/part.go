// Package parts compiles what the lab consists of, from Go modules, into a cache
// that every checkout of a user shares.
package parts

import (
	"path/filepath"
)

// Part is a module of the lab that is compiled by itself: their requirements
// could not stand together in one.
type Part struct {
	Name     string   // also its directory below the lab's
	Packages []string // what to build, or `.`
	Output   string   // the binary's name, where one package gets another name
	Flags    []string // linker flags, mostly version stamps
	Tags     string
	Cgo      bool
	Copy     string // a directory of a module to keep beside the binaries
	From     string // that module
	CNI      string // only for this network, if any
}

const (
	containerd = "github.com/containerd/containerd/v2"
	cilium     = "github.com/cilium/cilium"
	// Its tools and its CRDs are modules of their own.
	snapshotter = "github.com/kubernetes-csi/external-snapshotter"
	stamp       = "k8s.io/component-base/version."
)

// All lists the parts, the slow ones first.
func All() []Part {
	return []Part{
		{Name: "kubernetes", Packages: []string{"."}, Output: "hyperkube",
			// Without a stamp the API server calls itself v0.0.0.
			Flags: []string{"-X", stamp + "gitVersion=v1.37.2", "-X", stamp + "gitMajor=1",
				"-X", stamp + "gitMinor=37", "-X", stamp + "gitTreeState=clean"}},
		{Name: "cilium", CNI: "cilium", Copy: "bpf", From: cilium,
			Packages: []string{cilium + "/daemon", cilium + "/operator", cilium + "/plugins/cilium-cni"}},
		{Name: "coredns", Packages: []string{"."}, Output: "coredns"},
		{Name: "s3", Packages: []string{"github.com/versity/versitygw/cmd/versitygw"},
			Flags: []string{"-X", "main.Version=v1.8.0"}},
		{Name: "containerd", Flags: []string{"-X", containerd + "/version.Version=v2.3.7"},
			Packages: []string{containerd + "/cmd/containerd", containerd + "/cmd/containerd-shim-runc-v2",
				containerd + "/cmd/ctr"}},
		{Name: "runc", Packages: []string{"github.com/opencontainers/runc"}, Cgo: true, Tags: "seccomp",
			Flags: []string{"-X", "main.version=1.5.2"}},
		{Name: "snapshotter", Copy: "config/crd", From: snapshotter + "/client/v8",
			Packages: []string{snapshotter + "/v8/cmd/snapshot-controller", snapshotter + "/v8/cmd/csi-snapshotter"},
			Flags:    []string{"-X", "main.version=v8.7.0"}},
		{Name: "csi", Packages: []string{"."}, Output: "csi"},
		{Name: "suspect", Packages: []string{"."}, Output: "suspect"},
	}
}

// Needed lists the parts of a lab with the given network.
func Needed(cni string) []Part {
	var needed []Part
	for _, part := range All() {
		if part.CNI == "" || part.CNI == cni {
			needed = append(needed, part)
		}
	}
	return needed
}

// Set is where each part stands, by its name.
type Set map[string]string

// Binary names a program of a part.
func (s Set) Binary(part, name string) string { return filepath.Join(s[part], name) }
