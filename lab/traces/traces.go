// Package traces finds what of a lab is on a machine. It looks for itself, and
// trusts no record that the lab keeps.
package traces

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"irkit.dev/irkit/lab/cgroup"
	"irkit.dev/irkit/lab/place"
)

// Find lists every trace, one line each; none is the answer on a clean machine.
func Find() ([]string, error) {
	var found []string
	for _, look := range []func() ([]string, error){
		processes, mounts, namespaces, groups, devices, programs, leftovers,
	} {
		some, err := look()
		if err != nil {
			return nil, err
		}
		found = append(found, some...)
	}
	return found, nil
}

func processes() ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		pid := entry.Name()
		if strings.Trim(pid, "0123456789") != "" || pid == fmt.Sprint(os.Getpid()) {
			continue
		}
		if group, err := os.ReadFile("/proc/" + pid + "/cgroup"); err == nil && strings.Contains(string(group), ":/"+place.ControlGroup) {
			if line := commandLine(pid); line != "" { // empty: it ended, and waits for its parent
				found = append(found, "process "+pid+": "+line)
			}
		}
	}
	return found, nil
}

func commandLine(pid string) string {
	content, _ := os.ReadFile("/proc/" + pid + "/cmdline")
	return strings.TrimSpace(strings.ReplaceAll(string(content), "\x00", " "))
}

func mounts() ([]string, error) {
	content, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(content)) {
		if point := strings.Fields(line)[1]; mentions(line) || strings.HasPrefix(point, "/run/cilium") {
			found = append(found, "mount "+point)
		}
	}
	return found, nil
}

func namespaces() ([]string, error) {
	return matching("network namespace", "/run/netns/irkit-lab*", "/run/netns/cni-*")
}

func groups() ([]string, error) {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, hierarchy := range hierarchies {
		for _, name := range []string{place.ControlGroup, "kubepods*", "k8s.io", "system.slice:containerd*"} {
			some, err := matching("cgroup", filepath.Join(hierarchy, name))
			if err != nil {
				return nil, err
			}
			found = append(found, some...)
		}
	}
	return found, nil
}

// devices would be in the machine's own network namespace only by mistake.
func devices() ([]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, link := range links {
		name := link.Attrs().Name
		for _, prefix := range []string{place.NodeDevice, place.GatewayDevice, "cilium", "lxc", "cni0", "veth"} {
			if strings.HasPrefix(name, prefix) {
				found = append(found, "network device "+name)
				break
			}
		}
	}
	return found, nil
}

// leftovers are what daemons write by habit outside of the lab's directories.
func leftovers() ([]string, error) {
	return matching("file",
		"/sys/fs/bpf/cilium*", "/sys/fs/bpf/tc", "/run/cilium", "/var/lib/cilium", "/run/containerd",
		"/run/irkit-lab-*", "/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods",
		"/var/log/containers", "/etc/cni", "/opt/cni", "/usr/libexec/kubernetes", "/run/flannel", "/opt/containerd",
		"/run/xtables.lock", "/etc/kubernetes", "/etc/containerd")
}

func matching(what string, patterns ...string) ([]string, error) {
	var found []string
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if _, err := os.Lstat(path); err == nil || !os.IsNotExist(err) {
				found = append(found, what+" "+path)
			}
		}
	}
	return found, nil
}

func mentions(line string) bool {
	return strings.Contains(line, "irkit-lab")
}
