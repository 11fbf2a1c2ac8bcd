// Package cgroups reads of a process's control groups which container of which pod it
// belongs to, as the kubelet and its runtimes name them. The text is the kernel's, but a
// container may name the groups below its own as it likes.
package cgroups

import (
	"strings"
)

// Member is a process's place by its control groups.
type Member struct {
	Pod       string // UID; of a static pod, the digest of its manifest
	Container string // 64 hex digits
}

// idLength is that of a container's ID with containerd, CRI-O and cri-dockerd.
const idLength = 64

// Of reads /proc/<pid>/cgroup (cgroups(7), version 1 and 2). It is false for a process of
// no pod, for one that is in a pod's group but in none of its containers', as a runtime's
// monitor is, and for one whose hierarchies do not agree.
//
// Only the first group of a pod on the way down counts, and the group right below it:
// what is deeper was named inside of the container.
func Of(text string) (Member, bool) {
	var found Member
	for line := range strings.Lines(text) {
		// hierarchy:controllers:path; a path may hold anything but a newline.
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			return Member{}, false
		}
		m, inPod := ofPath(parts[2])
		switch {
		case !inPod:
		case m.Container == "" || found.Pod != "" && m != found:
			return Member{}, false
		default:
			found = m
		}
	}
	return found, found.Pod != ""
}

// ofPath finds the first group of a pod, and the container below it.
func ofPath(path string) (m Member, inPod bool) {
	groups := strings.Split(path, "/")
	for i, g := range groups {
		uid, ok := podOf(g)
		if !ok {
			continue
		}
		m.Pod = uid
		if i+1 < len(groups) {
			m.Container = containerOf(groups[i+1])
		}
		return m, true
	}
	return m, false
}

// podOf reads "pod<uid>" (cgroupfs driver) and "kubepods-burstable-pod<uid>.slice"
// (systemd driver, where the UID's dashes are underscores).
func podOf(group string) (uid string, ok bool) {
	name, slice := strings.CutSuffix(group, ".slice")
	if slice {
		i := strings.LastIndex(name, "-pod")
		if i < 0 || !strings.Contains(name[:i], "kubepods") {
			return "", false
		}
		name = name[i+1:]
	}
	raw, ok := strings.CutPrefix(name, "pod")
	if !ok {
		return "", false
	}
	uid = UID(raw)
	return uid, uid != ""
}

// UID writes a pod's UID as this package compares it; empty when it is none: an RFC 9562
// UUID, or the 32 hex digits of a static pod.
func UID(raw string) string {
	uid := strings.ReplaceAll(raw, "_", "-")
	switch len(uid) {
	case 32:
		if hex(uid) {
			return uid
		}
	case 36:
		for _, at := range []int{8, 13, 18, 23} {
			if uid[at] != '-' {
				return ""
			}
		}
		if bare := strings.ReplaceAll(uid, "-", ""); len(bare) == 32 && hex(bare) {
			return uid
		}
	}
	return ""
}

// containerOf reads "<id>" (cgroupfs driver) and "<runtime>-<id>.scope" (systemd driver).
// "crio-conmon-<id>.scope" is CRI-O's monitor, which is a process of the node.
func containerOf(group string) string {
	name, scope := strings.CutSuffix(group, ".scope")
	for _, runtime := range []string{"cri-containerd-", "crio-", "docker-", "libpod-"} {
		if id, ok := strings.CutPrefix(name, runtime); ok {
			if ID(id) {
				return id
			}
			return ""
		}
	}
	if !scope && ID(name) {
		return name
	}
	return ""
}

// ID reports a container's ID as runtimes make them: 64 hex digits.
func ID(s string) bool { return len(s) == idLength && hex(s) }

func hex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
