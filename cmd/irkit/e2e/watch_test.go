//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
)

const suspectImage = "lab.local/suspect:1"

// lastLine is the last line of a pod's log that begins so, in words.
func lastLine(t *testing.T, c kubernetes.Interface, p *corev1.Pod, begins string) []string {
	t.Helper()
	tail := int64(20)
	raw, err := c.CoreV1().Pods(p.Namespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: "app", TailLines: &tail}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	for _, l := range slices.Backward(lines) {
		if strings.HasPrefix(l, begins+" ") {
			return strings.Fields(l)
		}
	}
	return nil
}

func counted(t *testing.T, c kubernetes.Interface, p *corev1.Pod, begins string) int {
	t.Helper()
	f := lastLine(t, c, p, begins)
	if len(f) < 2 {
		return 0
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func with(caps ...corev1.Capability) *corev1.SecurityContext {
	root := int64(0)
	return &corev1.SecurityContext{RunAsUser: &root, Capabilities: &corev1.Capabilities{Add: caps}}
}

// TestPacketSocketFramesStop: what a suspect with NET_RAW sends over a packet socket, below
// the IP layer, arrives at another pod before the cut and not after it. The cut is alone:
// no policy helps.
func TestPacketSocketFramesStop(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	sink := own(t, c, "sink", corev1.Container{Image: suspectImage, Args: []string{"count", ":9000"}})
	sender := own(t, c, "frames", corev1.Container{Image: suspectImage, Args: []string{"frames", sink.Status.PodIP + ":9000"}, SecurityContext: with("NET_RAW")})
	eventually(t, 90*time.Second, "frames arrive", func() bool { return counted(t, c, sink, "count") > 20 })
	p := newPerson(t)
	v := p.contain(sender.Name, ownNamespace, "--skip", "netpol,deny,detach,cordon", "--canary", sink.Status.PodIP+":9000").result(t).Verdict
	if v.Cut == nil || v.Cut.DroppedOut == 0 {
		t.Fatalf("no cut, or nothing dropped: %+v", v.Cut)
	}
	time.Sleep(time.Second) // what was under way arrives, and is printed
	first := counted(t, c, sink, "count")
	time.Sleep(3 * time.Second)
	if then := counted(t, c, sink, "count"); then != first {
		t.Errorf("%d frames arrived after the cut", then-first)
	}
	f := lastLine(t, c, sink, "count")
	ms, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d frames arrived before; the last %s after the cut was in force", first, time.UnixMilli(ms).Sub(v.Cut.Installed))
	p.release(sender.Name, ownNamespace, "--to-service").want(t, 0)
	eventually(t, 90*time.Second, "frames arrive again", func() bool { return counted(t, c, sink, "count") > first })
}

// TestFlusherIsABrake: a suspect with NET_ADMIN that flushes the rules twenty times a
// second. The verdict says so, and is no better than PARTIAL by the cut alone; the rules
// are put back each time, and watch tells how long they were away.
func TestFlusherIsABrake(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	pod := own(t, c, "flusher", corev1.Container{Image: suspectImage, Args: []string{"flush"}, SecurityContext: with("NET_ADMIN")})
	eventually(t, 90*time.Second, "it flushes", func() bool { return counted(t, c, pod, "flushed") > 20 })
	p := newPerson(t)
	r := p.contain(pod.Name, ownNamespace, "--skip", "netpol,deny,detach,cordon").want(t, 5).result(t)
	why := strings.Join(r.Verdict.Why, "\n")
	if r.Verdict.State == evidence.Contained || !strings.Contains(why, "NET_ADMIN") || !strings.Contains(why, "put back") {
		t.Errorf("verdict %s: %q", r.Verdict.State, r.Verdict.Why)
	}
	w := p.irkit("watch", pod.Name, "-n", ownNamespace, "--for", "8s", "--every", "2s").want(t, 5)
	w.says(t, "cut put back")
	all := history(t, p, r.Case)
	if !slices.ContainsFunc(all, func(r evidence.Record) bool { return r.Action == evidence.ActReasserted }) {
		t.Error("no custody record says that the cut was put back")
	}
	cut := r.Verdict.Cut
	t.Logf("at the verdict: put back %d times, open %s in all since %s", cut.Reasserted, cut.Reopened, cut.Installed)
	p.release(pod.Name, ownNamespace, "--to-service").want(t, 0)
}

// history is all of a case's records, those after the seal too.
func history(t *testing.T, p *person, caseID string) []evidence.Record {
	t.Helper()
	h, err := playbooks.Cases{Home: p.home + "/irkit"}.History(caseID)
	if err != nil {
		t.Fatal(err)
	}
	return h.Records
}

// TestLabelFight: someone puts a stripped label back, again and again. Watch names the
// label and who wrote it, strips it again, and records both.
func TestLabelFight(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	pod := small(t, c)
	p := newPerson(t)
	r := p.contain(pod.Name, ownNamespace, "--skip", "cordon").result(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			_, _ = c.CoreV1().Pods(ownNamespace).Patch(ctx, pod.Name, types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"small"}}}`), metav1.PatchOptions{FieldManager: "meddler"})
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
		}
	}()
	p.irkit("watch", pod.Name, "-n", ownNamespace, "--for", "8s", "--every", "2s").says(t, "app=small", "meddler", "put back")
	stop()
	<-ended
	all := history(t, p, r.Case)
	seen := slices.ContainsFunc(all, func(r evidence.Record) bool {
		return r.Action == evidence.ActDisturbed && r.Result == evidence.LabelBack && strings.HasPrefix(fmt.Sprint(r.Data["by"]), "meddler")
	})
	sealed, again := false, 0
	for _, r := range all {
		sealed = sealed || r.Action == evidence.ActSealed
		if sealed && r.Action == evidence.ActIsolated && r.Phase == evidence.Did && r.Change.Layer == "detach" {
			again++
		}
	}
	if !seen || again == 0 {
		t.Errorf("recorded: seen %v, stripped again %d times", seen, again)
	}
	t.Logf("stripped again %d times", again)
	p.irkit("watch", pod.Name, "-n", ownNamespace, "--for", "3s", "--every", "1s") // what the last patch left
	if now := getPod(t, c, ownNamespace, pod.Name); now.Labels["app"] != "" {
		t.Errorf("the label is still on: %v", now.Labels)
	}
	p.release(pod.Name, ownNamespace, "--to-service").want(t, 0)
	if now := getPod(t, c, ownNamespace, pod.Name); now.Labels["app"] != pod.Labels["app"] {
		t.Errorf("released with labels %v", now.Labels)
	}
}

// TestLivenessThatNeedsTheNetwork: the kubelet restarts a container whose probe the cut
// breaks. The plan shows how long that takes, the verdict says that it happened.
func TestLivenessThatNeedsTheNetwork(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	other := own(t, c, "asked", corev1.Container{Image: suspectImage, Args: []string{"web", ":8080"}})
	pod := own(t, c, "asking", corev1.Container{Image: debug, Command: []string{"sh", "-c", "while :; do sleep 3600; done"},
		LivenessProbe: &corev1.Probe{PeriodSeconds: 1, FailureThreshold: 4, TimeoutSeconds: 1,
			ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"wget", "-q", "-T", "1", "-O", "/dev/null", "http://" + other.Status.PodIP + ":8080/healthz"}}}},
	})
	p := newPerson(t)
	p.irkit("contain", pod.Name, "-n", ownNamespace, "--image", image, "--pull", "Never", "--dry-run", "client", "-o", "json").want(t, 0).says(t, `"capture_budget_seconds": 4`)
	v := p.contain(pod.Name, ownNamespace, "--skip", "cordon").result(t).Verdict
	told := slices.ContainsFunc(v.Disturbed, func(d evidence.Disturbance) bool {
		return d.Code == evidence.Restarted && strings.Contains(d.Text, "liveness probe")
	})
	if n := getPod(t, c, ownNamespace, pod.Name).Status.ContainerStatuses[0].RestartCount; !told || !slices.Contains(v.Restarts, "app") {
		t.Errorf("restarted %d times; the verdict says %+v, %q", n, v.Disturbed, v.Restarts)
	}
	p.release(pod.Name, ownNamespace, "--delete-pod").want(t, 0)
}
