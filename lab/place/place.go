// Package place says where everything of the lab is on this machine: its
// directories, and the addresses of what runs in it.
package place

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Layout is the set of directories that the lab uses. Every path is absolute.
type Layout struct {
	Source string // the checkout's lab directory: modules and manifests
	Cache  string // compiled parts, shared by every checkout of this user
	State  string // keys, databases, logs, container images; emptied by down
	Run    string // sockets, locks and the record of the running lab
}

// FromEnvironment reads the overrides IRKIT_LAB_SOURCE, IRKIT_LAB_CACHE,
// IRKIT_LAB_STATE and IRKIT_LAB_RUN and fills in the rest. It creates nothing.
func FromEnvironment() (Layout, error) {
	cache, err := cacheDirectory()
	if err != nil {
		return Layout{}, err
	}
	layout := Layout{
		Source: either("IRKIT_LAB_SOURCE", findSource()),
		Cache:  cache,
		State:  either("IRKIT_LAB_STATE", "/var/lib/irkit-lab"),
		Run:    either("IRKIT_LAB_RUN", "/run/irkit-lab"),
	}
	for _, path := range []*string{&layout.Source, &layout.Cache, &layout.State, &layout.Run} {
		if *path, err = filepath.Abs(*path); err != nil {
			return Layout{}, fmt.Errorf("cannot resolve %q: %w", *path, err)
		}
	}
	return layout, nil
}

// StatePath names something below the state directory.
func (l Layout) StatePath(elements ...string) string {
	return filepath.Join(append([]string{l.State}, elements...)...)
}

// RunPath names something below the run directory.
func (l Layout) RunPath(elements ...string) string {
	return filepath.Join(append([]string{l.Run}, elements...)...)
}

// Log names the log file of a daemon.
func (l Layout) Log(daemon string) string {
	return l.StatePath("log", daemon+".log")
}

// Key is the private half of an identity made by this lab.
func (l Layout) Key(identity string) string { return l.StatePath("pki", identity+".key") }

// Certificate is the public half.
func (l Layout) Certificate(identity string) string { return l.StatePath("pki", identity+".crt") }

// Authority is the certificate that signed every other one, S3's included.
func (l Layout) Authority() string { return l.Certificate("ca") }

// ContainerdSocket is reachable from inside and from outside of the lab.
func (l Layout) ContainerdSocket() string { return l.RunPath("containerd.sock") }

// Kubeconfig is the administrator's, for use outside of the lab.
func (l Layout) Kubeconfig() string { return l.StatePath("kubeconfig") }

// ResponderKubeconfig belongs to a user whom no RBAC rule knows yet.
func (l Layout) ResponderKubeconfig() string { return l.StatePath("responder.kubeconfig") }

func cacheDirectory() (string, error) {
	if set := os.Getenv("IRKIT_LAB_CACHE"); set != "" {
		return set, nil
	}
	if set := os.Getenv("XDG_CACHE_HOME"); set != "" {
		return filepath.Join(set, "irkit-lab"), nil
	}
	if home := os.Getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache", "irkit-lab"), nil
	}
	return "", errors.New("no place for compiled parts: set IRKIT_LAB_CACHE")
}

// findSource works from the top of a checkout and from its lab directory.
func findSource() string {
	if _, err := os.Stat("lab/lab.mk"); err == nil {
		return "lab"
	}
	return "."
}

func either(variable, otherwise string) string {
	if set := os.Getenv(variable); set != "" {
		return set
	}
	return otherwise
}
