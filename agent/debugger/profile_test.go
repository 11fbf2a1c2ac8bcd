package debugger

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// admission feigns Pod Security: baseline denies added capabilities, restricted root and
// capabilities that are not dropped too.
func admission(level string) func(corev1.EphemeralContainer, bool) *metav1.Status {
	return func(c corev1.EphemeralContainer, _ bool) *metav1.Status {
		sc := c.SecurityContext
		switch {
		case sc.Capabilities != nil && len(sc.Capabilities.Add) > 0:
			return denial("violates PodSecurity: non-default capabilities")
		case level == "restricted" && (sc.Capabilities == nil || *sc.RunAsUser == 0):
			return denial("violates PodSecurity: runAsNonRoot")
		}
		return nil
	}
}

func TestTheStrongestAdmittedProfileOfEachTarget(t *testing.T) {
	linux := func(uid, gid int64) *corev1.ContainerUser {
		return &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: uid, GID: gid}}
	}
	for name, c := range map[string]struct {
		level    string
		user     *corev1.ContainerUser
		spec     *int64
		want     Profile
		uid, gid int64
		refused  []Profile
	}{
		"baseline, root":              {level: "baseline", user: linux(0, 0), want: P2, refused: []Profile{P1N, P1}},
		"baseline, another user":      {level: "baseline", user: linux(1000, 3000), want: P3, uid: 1000, gid: 3000, refused: []Profile{P1N, P1, P2}},
		"baseline, user not known":    {level: "baseline", want: P2, refused: []Profile{P1N, P1}},
		"restricted, another user":    {level: "restricted", user: linux(1000, 3000), want: P3, uid: 1000, gid: 3000, refused: []Profile{P1N, P1, P2}},
		"restricted, asked-for user":  {level: "restricted", spec: new(int64(4711)), want: P3, uid: 4711, refused: []Profile{P1N, P1, P2}},
		"restricted, user not known":  {level: "restricted", want: P0, uid: nobodyUser, gid: nobodyUser, refused: []Profile{P1N, P1, P2, P3}},
		"restricted, root (pre-1.35)": {level: "restricted", user: linux(0, 0), want: P0, uid: nobodyUser, gid: nobodyUser, refused: []Profile{P1N, P1, P2, P3}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			a.admit = admission(c.level)
			a.pod.Status.ContainerStatuses[0].User = c.user
			a.pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: c.spec}
			o := a.options()
			o.Profiles = All()
			h, err := Start(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = h.Close(t.Context(), false) }()
			info, made := h.Info(), a.pod.Spec.EphemeralContainers[0]
			var refused []Profile
			for _, r := range info.Refused {
				refused = append(refused, r.Profile)
				if r.Reason == "" {
					t.Errorf("%s was refused without a reason", r.Profile)
				}
			}
			if info.Profile != c.want || !slices.Equal(refused, c.refused) || profileOf(made) != c.want {
				t.Errorf("profile %s (in the pod: %s), refused %q", info.Profile, profileOf(made), refused)
			}
			if sc := made.SecurityContext; *sc.RunAsUser != c.uid || *sc.RunAsGroup != c.gid || *sc.RunAsNonRoot == (c.uid == 0) {
				t.Errorf("runs as %d:%d, runAsNonRoot %v", *sc.RunAsUser, *sc.RunAsGroup, *sc.RunAsNonRoot)
			}
			own := "debugger-same-uid"
			if c.want == P0 {
				own = "debugger"
				if made.TargetContainerName != "" || !slices.Contains(made.Command, "--network-only") || strings.Contains(info.Alterations[0].What, "namespace of container") {
					t.Errorf("P0 is beside a target: %+v, %+v", made, info.Alterations)
				}
			}
			if string(info.Trust()) != own {
				t.Errorf("trust %s", info.Trust())
			}
			if choice, err := Choose(t.Context(), o); err != nil || !choice.Standing || choice.Profile != c.want {
				t.Errorf("asked again: %+v, %v", choice, err)
			}
		})
	}
}

func TestASidecarTakesAHand(t *testing.T) {
	a := newAPI(t)
	always := corev1.ContainerRestartPolicyAlways
	a.pod.Spec.InitContainers = []corev1.Container{{Name: "proxy", RestartPolicy: &always}}
	a.pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{
		Name: "proxy", ContainerID: "containerd://" + strings.Repeat("cd", 32), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
	}}
	o := a.options()
	o.Container = "proxy"
	h, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	_ = h.Close(t.Context(), false)
	made := a.pod.Spec.EphemeralContainers[0]
	if made.TargetContainerName != "proxy" || !slices.Contains(made.Command, strings.Repeat("cd", 32)) {
		t.Errorf("%+v", made)
	}
	a.pod.Status.InitContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
	if _, err := Choose(t.Context(), o); !errors.Is(err, ErrTargetDown) {
		t.Errorf("one that ended: %v", err)
	}
}

// Where the pod is in the node's PID namespace the hand is told so: only what is in the
// container's control group is the target's there.
func TestAHandAmongTheNodesProcesses(t *testing.T) {
	a := newAPI(t)
	a.pod.Spec.HostPID = true
	h, err := Start(t.Context(), a.options())
	if err != nil {
		t.Fatal(err)
	}
	_ = h.Close(t.Context(), false)
	if c := a.pod.Spec.EphemeralContainers[0].Command; !slices.Contains(c, "--host-pids") || !slices.Contains(c, "--shared-pids") || !h.Info().SharedPIDs {
		t.Errorf("%q", c)
	}
}
