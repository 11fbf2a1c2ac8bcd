package cgroups

import (
	"strings"
	"testing"
)

var (
	id    = strings.Repeat("0123456789abcdef", 4)
	other = strings.Repeat("fedcba9876543210", 4)
)

const (
	uid       = "7c7f9008-cd23-4b0c-824a-5f2b84e9dda2"
	systemd   = "7c7f9008_cd23_4b0c_824a_5f2b84e9dda2"
	foreign   = "11111111-2222-3333-4444-555555555555"
	staticUID = "26acfe6dfe34fa8a1c3f4f3f8a3f1d2b"
)

func TestOf(t *testing.T) {
	pod := "/kubepods/besteffort/pod" + uid
	for name, c := range map[string]struct {
		text string
		want Member
	}{
		"cgroupfs, version 1":         {"9:name=systemd:" + pod + "/" + id + "\n8:pids:" + pod + "/" + id + "\n0::/\n", Member{uid, id}},
		"cgroupfs below a root":       {"0::/irkit-lab/kubepods/pod" + uid + "/" + id + "\n", Member{uid, id}},
		"systemd, containerd":         {"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + systemd + ".slice/cri-containerd-" + id + ".scope\n", Member{uid, id}},
		"systemd, kind":               {"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" + systemd + ".slice/cri-containerd-" + id + ".scope", Member{uid, id}},
		"CRI-O":                       {"0::/kubepods.slice/kubepods-pod" + systemd + ".slice/crio-" + id + ".scope/container\n", Member{uid, id}},
		"docker":                      {"0::/kubepods.slice/kubepods-pod" + systemd + ".slice/docker-" + id + ".scope\n", Member{uid, id}},
		"static pod":                  {"0::/kubepods/burstable/pod" + staticUID + "/" + id + "\n", Member{staticUID, id}},
		"from another cgroup space":   {"0::/../../pod" + uid + "/" + id + "\n", Member{uid, id}},
		"systemd inside":              {"0::" + pod + "/" + id + "/init.scope\n", Member{uid, id}},
		"named like another inside":   {"0::" + pod + "/" + id + "/kubepods/pod" + foreign + "/" + other + "\n", Member{uid, id}},
		"a colon in a name":           {"0::" + pod + "/" + id + "/a:b\n", Member{uid, id}},
		"no newline in a name":        {"0::" + pod + "/" + id + "/x\n0::/kubepods/pod" + foreign + "/" + other + "\n", Member{}},
		"hierarchies do not agree":    {"2:cpu:" + pod + "/" + id + "\n1:memory:" + pod + "/" + other + "\n", Member{}},
		"pods do not agree":           {"2:cpu:" + pod + "/" + id + "\n1:memory:/kubepods/pod" + foreign + "/" + id + "\n", Member{}},
		"conmon":                      {"0::/kubepods.slice/kubepods-pod" + systemd + ".slice/crio-conmon-" + id + ".scope\n", Member{}},
		"the pod's group itself":      {"0::" + pod + "\n", Member{}},
		"a process of the node":       {"0::/system.slice/containerd.service\n", Member{}},
		"a container of no pod":       {"0::/system.slice/docker-" + id + ".scope\n", Member{}},
		"short ID":                    {"0::" + pod + "/" + id[:63] + "\n", Member{}},
		"long ID":                     {"0::" + pod + "/" + id + "0\n", Member{}},
		"upper case":                  {"0::" + pod + "/" + strings.ToUpper(id) + "\n", Member{}},
		"ID in the middle of a name":  {"0::" + pod + "/x" + id + "\n", Member{}},
		"a scope of no runtime":       {"0::" + pod + "/" + id + ".scope\n", Member{}},
		"pod in the middle of a name": {"0::/kubepods/xpod" + uid + "/" + id + "\n", Member{}},
		"slice of something else":     {"0::/user-pod" + systemd + ".slice/cri-containerd-" + id + ".scope\n", Member{}},
		"no UID":                      {"0::/kubepods/podpod/" + id + "\n", Member{}},
		"dashes at the wrong places":  {"0::/kubepods/pod7c7f9008cd-23-4b0c-824a-5f2b84e9dda2/" + id + "\n", Member{}},
		"not a line of it":            {"nothing\n", Member{}},
		"empty":                       {"", Member{}},
	} {
		got, ok := Of(c.text)
		if !ok {
			got = Member{}
		}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// FuzzOf: what a container writes below its own group never moves it to another.
func FuzzOf(f *testing.F) {
	f.Add("/x", "a")
	f.Add("/pod"+foreign+"/"+other, "b/../..")
	f.Add("\n0::/kubepods/pod"+foreign+"/"+other, "")
	f.Fuzz(func(t *testing.T, below, text string) {
		if m, ok := Of(text); ok && (!ID(m.Container) || UID(m.Pod) != m.Pod || m.Pod == "") {
			t.Fatalf("%q: %+v", text, m)
		}
		// The kernel takes no newline in a name (cgroup_mkdir); did it, the lines would not agree.
		for _, own := range []string{
			"/kubepods/besteffort/pod" + uid + "/" + id,
			"/kubepods.slice/kubepods-pod" + systemd + ".slice/cri-containerd-" + id + ".scope",
		} {
			m, ok := Of("0::" + own + "/" + below + "\n1:pids:" + own + "\n")
			if ok && m != (Member{uid, id}) {
				t.Fatalf("%q: %+v", below, m)
			}
			if !ok && !strings.Contains(below, "\n") {
				t.Fatalf("%q hides the process", below)
			}
		}
	})
}
