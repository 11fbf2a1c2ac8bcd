package debugger

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

func TestBrokenExecStreamsResume(t *testing.T) {
	for _, tr := range []Transport{WS, SPDY} {
		a := newAPI(t)
		o := a.options()
		o.Transport = tr
		h, err := Start(t.Context(), o)
		if err != nil {
			t.Fatalf("%s: %v", tr, err)
		}
		if h.Transport() != tr || h.Info().Profile != P1N || h.Info().Container != containerName("c1", "main", 0) || h.Info().ImageID != "id" {
			t.Errorf("%s: over %s, %+v", tr, h.Transport(), h.Info())
		}
		for _, k := range []int{1, 300, 700, 2000, 40_000, 500_000, 1_200_000, 2_000_000} {
			a.wires.budgets(k, k/2+500, k)
			a.wires.breakAll()
			if err := a.collectAll(h); err != nil {
				t.Errorf("%s broken after %d bytes: %v", tr, k, err)
			}
		}
		if err := h.Close(t.Context(), true); err != nil {
			t.Errorf("%s: close: %v", tr, err)
		}
	}
}

func TestAutoGoesOverToSPDY(t *testing.T) {
	a := newAPI(t)
	a.noWS = true
	h, err := Start(t.Context(), a.options())
	if err != nil {
		t.Fatal(err)
	}
	if h.Transport() != SPDY {
		t.Errorf("over %s, want spdy", h.Transport())
	}
	if err := a.collectAll(h); err != nil {
		t.Error(err)
	}
	_ = h.Close(t.Context(), false)
	o := a.options()
	o.Transport, o.Grace = WS, 100*time.Millisecond
	if _, err := Start(t.Context(), o); err == nil {
		t.Error("WebSocket alone was asked for, and another used")
	}
}

func TestStandingHandIsFoundWithoutAWrite(t *testing.T) {
	a := newAPI(t)
	o := a.options()
	h, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	_ = h.Close(t.Context(), false)
	o.Recorder, o.Image, o.DebugImage = nobody{}, "", "none"
	c, err := Choose(t.Context(), o)
	if err != nil || !c.Standing {
		t.Errorf("choice: %+v, %v", c, err)
	}
	again, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close(t.Context(), false)
	// With another secret it is not ours: a further container.
	o = a.options()
	o.Secret = []byte("other")
	if c, err = Choose(t.Context(), o); err != nil || c.Standing || !strings.HasSuffix(c.Change.ID, containerName("c1", "main", 1)) {
		t.Errorf("choice: %+v, %v", c, err)
	}
}

func denial(text string) *metav1.Status {
	return &metav1.Status{Status: "Failure", Code: 403, Reason: metav1.StatusReasonForbidden, Message: text}
}

func TestLadder(t *testing.T) {
	a := newAPI(t)
	cuts := func(c corev1.EphemeralContainer) bool { return profileOf(c) == P1N }
	a.admit = func(c corev1.EphemeralContainer, _ bool) *metav1.Status {
		if cuts(c) {
			return denial("no NET_ADMIN here")
		}
		return nil
	}
	c, err := Choose(t.Context(), a.options())
	if err != nil || c.Profile != P1 || len(c.Refused) != 1 || c.Refused[0].Reason != "no NET_ADMIN here" || c.Inconclusive {
		t.Errorf("choice: %+v, %v", c, err)
	}
	if c.Change.Op != evidence.OpInject || c.Change.Irreversible == "" || !strings.Contains(string(c.Change.After), "SYS_PTRACE") {
		t.Errorf("change: %+v", c.Change)
	}
	// A webhook that takes no part in dry runs, and then denies.
	a.admit = func(c corev1.EphemeralContainer, dry bool) *metav1.Status {
		if dry {
			return &metav1.Status{Status: "Failure", Code: 400, Reason: metav1.StatusReasonBadRequest, Message: `admission webhook "w" does not support dry run`}
		}
		if cuts(c) {
			return denial("denied in earnest")
		}
		return nil
	}
	h, err := Start(t.Context(), a.options())
	if err != nil {
		t.Fatal(err)
	}
	if i := h.Info(); i.Profile != P1 || !i.Inconclusive || len(i.Refused) != 1 || i.Refused[0].Reason != "denied in earnest" {
		t.Errorf("info: %+v", i)
	}
	_ = h.Close(t.Context(), false)
	a.admit = func(corev1.EphemeralContainer, bool) *metav1.Status { return denial("never") }
	o := a.options()
	o.Secret = nil
	o.Profiles = []Profile{P1N, P3} // whose user is not known here
	_, err = Start(t.Context(), o)
	var no *NoProfileError
	if !errors.As(err, &no) || len(no.Refused) != 2 || !errors.Is(err, ErrUnsuited) {
		t.Errorf("start: %v", err)
	}
}

func TestRefusedTargets(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*api, *Options)
		want   error
	}{
		"replaced": {func(a *api, o *Options) { a.pod.UID = "u-2" }, ErrReplaced},
		"gone":     {func(a *api, o *Options) { o.Target.Pod = "web-1" }, ErrReplaced},
		"static":   {func(a *api, o *Options) { a.pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }, ErrStaticPod},
		"down":     {func(a *api, o *Options) { a.pod.Status.ContainerStatuses[0].State = corev1.ContainerState{} }, ErrTargetDown},
		"unsupported": {func(a *api, o *Options) {
			a.admit = func(corev1.EphemeralContainer, bool) *metav1.Status {
				return &metav1.Status{Status: "Failure", Code: 404, Reason: metav1.StatusReasonNotFound}
			}
		}, ErrUnsupported},
		"replaced between": {func(a *api, o *Options) {
			a.admit = func(corev1.EphemeralContainer, bool) *metav1.Status {
				return &metav1.Status{Status: "Failure", Code: 409, Reason: metav1.StatusReasonConflict, Message: "Precondition failed: UID in precondition: u-1, UID in object meta: u-2"}
			}
		}, ErrReplaced},
	} {
		a := newAPI(t)
		o := a.options()
		c.change(a, &o)
		if _, err := Start(t.Context(), o); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if len(o.Recorder.(*journal).ids) != 0 {
			t.Errorf("%s: something was written", name)
		}
	}
}

func TestStuckContainers(t *testing.T) {
	waiting := func(reason, message string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
	}
	for name, c := range map[string]struct {
		state corev1.ContainerState
		want  error
	}{
		"pull":     {waiting("ImagePullBackOff", "back-off"), ErrImage},
		"never":    {waiting("ErrImageNeverPull", ""), ErrImage},
		"config":   {waiting("CreateContainerConfigError", "image has non-numeric user"), ErrConfig},
		"target":   {waiting("CreateContainerError", `container "x" is not running - in state CONTAINER_EXITED`), ErrTargetDown},
		"lost":     {waiting("CreateContainerConfigError", `unable to find target container "main"`), ErrTargetDown},
		"ended":    {corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error", Message: "boom"}}, ErrEnded},
		"creating": {waiting("ContainerCreating", ""), ErrNotStarted},
	} {
		a := newAPI(t)
		a.status = func(string) corev1.ContainerState { return c.state }
		o := a.options()
		o.StartTimeout = 300 * time.Millisecond
		_, err := Start(t.Context(), o)
		var se *StartError
		if !errors.Is(err, c.want) || !errors.As(err, &se) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestBinaryIsStreamedAgainWhenTheStreamBreaks(t *testing.T) {
	for _, tr := range []Transport{WS, SPDY} {
		a := newAPI(t)
		a.cut = 100_000
		o := a.options()
		o.Transport, o.Image, o.DebugImage = tr, "", "busybox"
		h, err := Start(t.Context(), o)
		if err != nil {
			t.Fatalf("%s: %v", tr, err)
		}
		if a.tries != 2 || !h.Info().Streamed || len(h.Info().Alterations) != 2 {
			t.Errorf("%s: %d tries, %+v", tr, a.tries, h.Info())
		}
		j := o.Recorder.(*journal)
		if len(j.ids) != 2 || !strings.HasPrefix(j.ids[1], "hand/exec/pod/prod/web-0/u-1/") {
			t.Errorf("%s: changes %q", tr, j.ids)
		}
		_ = h.Close(t.Context(), false)
	}
}

func TestSessionThatDiedBeforeTheBinaryCame(t *testing.T) {
	a := newAPI(t)
	o := a.options()
	o.Image, o.DebugImage = "", "busybox"
	o.Host.Binary = func(string) ([]byte, error) { return nil, errors.New("no binary today") }
	if _, err := Start(t.Context(), o); err == nil {
		t.Fatal("started without a binary")
	}
	h, err := Start(t.Context(), func() Options { o := a.options(); o.Image, o.DebugImage = "", "busybox"; return o }())
	if err != nil {
		t.Fatal(err)
	}
	if len(a.pod.Spec.EphemeralContainers) != 1 {
		t.Errorf("%d containers were injected", len(a.pod.Spec.EphemeralContainers))
	}
	_ = h.Close(t.Context(), false)
}

func TestHandThatEndedIsGone(t *testing.T) {
	a := newAPI(t)
	h, err := Start(t.Context(), a.options())
	if err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	a.pod = a.pod.DeepCopy()
	a.pod.Status.EphemeralContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}
	a.worker.Close()
	a.mu.Unlock()
	a.wires.breakAll()
	_, err = h.Describe(t.Context())
	if !errors.Is(err, agent.ErrGone) {
		t.Errorf("describe: %v, want ErrGone", err)
	}
}

func TestSpoolNeverBlocksAndIsBounded(t *testing.T) {
	s := newSpool()
	s.limit = 1000
	for range 10 {
		if n, err := s.Write(make([]byte, 100)); n != 100 || err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err := s.Write([]byte{1}); err == nil || s.failure() == nil {
		t.Error("one byte over the limit was taken")
	}
	b, err := io.ReadAll(s)
	if len(b) != 1000 || err == nil {
		t.Errorf("%d bytes came out, %v", len(b), err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := newAPI(t).options()
	for name, change := range map[string]func(*Options){
		"client":      func(o *Options) { o.Client = nil },
		"recorder":    func(o *Options) { o.Recorder = nil },
		"case":        func(o *Options) { o.Case = "" },
		"no image":    func(o *Options) { o.Image = "" },
		"both images": func(o *Options) { o.DebugImage = "x" },
		"transport":   func(o *Options) { o.Transport = "carrier pigeon" },
		"target":      func(o *Options) { o.Target.UID = "" },
		"container":   func(o *Options) { o.Container = "" },
		"no binary":   func(o *Options) { o.Image, o.DebugImage, o.Binary = "", "x", nil },
	} {
		o := good
		change(&o)
		if _, err := Start(context.WithoutCancel(t.Context()), o); err == nil {
			t.Errorf("%s: started", name)
		}
	}
}
