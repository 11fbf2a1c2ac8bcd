// Package logs collects what the containers of a pod wrote, as the kubelet serves it:
// current and previous, every line with the kubelet's own time in front, byte for byte.
// What a log says is the target's word.
package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// Options say where to read.
type Options struct {
	Client kubernetes.Interface
	// Ours tells the ephemeral containers that irkit itself added; their logs are not
	// the target's. Nil: none is.
	Ours func(name string) bool
}

// Collector collects the logs of every container of the pod.
type Collector struct{ o Options }

// New makes the collector.
func New(o Options) *Collector { return &Collector{o} }

// Traits implements collectors.Collector.
func (c *Collector) Traits() collectors.Traits {
	return collectors.Traits{Name: "logs", Volatility: collectors.RankLogs, Rules: []evidence.Rule{
		{Resource: "pods", Verbs: []string{"get"}, Scope: evidence.InTarget, Required: true, Why: "the pod's containers"},
		{Resource: "pods", Sub: "log", Verbs: []string{"get"}, Scope: evidence.InTarget, Why: "the containers' logs"},
	}}
}

// container is one of the pod's, with its place in the specification.
type container struct {
	name, ordinal string
	ranOnce       bool // by the pod's status: there is no earlier run
}

// Collect implements collectors.Collector.
func (c *Collector) Collect(ctx context.Context, t evidence.Target, sink evidence.Sink) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	pod, err := c.o.Client.CoreV1().Pods(t.Namespace).Get(ctx, t.Pod, metav1.GetOptions{})
	if err == nil && string(pod.UID) != t.UID {
		err = apierrors.NewNotFound(corev1.Resource("pods"), fmt.Sprintf("%s with UID %s: the name is now UID %s's", t.Pod, t.UID, pod.UID))
	}
	if err != nil {
		a := c.artifact(t, container{ordinal: "pod"}, false)
		return c.refused(ctx, sink, a, err)
	}
	var errs []error
	for _, k := range c.containers(pod) {
		for _, previous := range []bool{false, true} {
			if err := c.log(ctx, t, k, previous, sink); err != nil {
				errs = append(errs, err)
			}
			if ctx.Err() != nil {
				return errors.Join(append(errs, ctx.Err())...)
			}
		}
	}
	// Logs are asked for by name: a pod that came under it meanwhile would answer too.
	if pod, err := c.o.Client.CoreV1().Pods(t.Namespace).Get(ctx, t.Pod, metav1.GetOptions{}); err == nil && string(pod.UID) != t.UID {
		errs = append(errs, fmt.Errorf("read logs of %s: replaced by UID %s meanwhile: some may be of that pod", t, pod.UID))
	}
	return errors.Join(errs...)
}

func (c *Collector) containers(pod *corev1.Pod) []container {
	var all []container
	again := map[string]bool{}
	for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		again[s.Name] = s.RestartCount > 0 || s.LastTerminationState.Terminated != nil
	}
	for i, k := range pod.Spec.Containers {
		all = append(all, container{k.Name, fmt.Sprintf("c%d", i), !again[k.Name]})
	}
	for i, k := range pod.Spec.InitContainers {
		all = append(all, container{k.Name, fmt.Sprintf("i%d", i), !again[k.Name]})
	}
	for i, k := range pod.Spec.EphemeralContainers {
		if c.o.Ours == nil || !c.o.Ours(k.Name) {
			all = append(all, container{k.Name, fmt.Sprintf("e%d", i), !again[k.Name]})
		}
	}
	return all
}

func (c *Collector) artifact(t evidence.Target, k container, previous bool) evidence.Artifact {
	kind, query := "log-current", ""
	if previous {
		kind, query = "log-previous", "&previous=true"
	}
	return evidence.Artifact{
		Kind: kind, Section: evidence.Logs, Container: k.name, Ordinal: k.ordinal, Ext: "log", MediaType: "text/plain",
		Source: evidence.Source{How: "log", Detail: fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/log?container=%s&timestamps=true%s", t.Namespace, t.Pod, k.name, query)},
		Trust:  evidence.TrustAPI, Class: evidence.Restricted, Volatility: collectors.RankLogs, Compress: true, Started: time.Now().UTC(),
	}
}

// log files one log of one container. No previous log is an entry that says so, and
// never looks like an empty one.
func (c *Collector) log(ctx context.Context, t evidence.Target, k container, previous bool, sink evidence.Sink) error {
	a := c.artifact(t, k, previous)
	body, err := c.o.Client.CoreV1().Pods(t.Namespace).GetLogs(t.Pod, &corev1.PodLogOptions{
		Container: k.name, Previous: previous, Timestamps: true,
	}).Stream(ctx)
	if err != nil && previous && k.ranOnce && (apierrors.IsBadRequest(err) || apierrors.IsNotFound(err)) {
		a.Absent = &evidence.Absence{Status: evidence.LeftOut, Reason: "there is none: the container has not been restarted"}
		if _, err := sink.Add(ctx, a, nil); err != nil {
			return fmt.Errorf("file %s of %s: %w", a.Kind, k.name, err)
		}
		return nil
	}
	if err != nil {
		return c.refused(ctx, sink, a, err)
	}
	defer body.Close()
	b := bufio.NewReaderSize(body, 64<<10)
	first, _ := b.Peek(512) // its error comes again from the reader
	if said, ok := refusal(first); ok {
		a.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: "kubelet: " + said}
		_, err := sink.Add(ctx, a, nil)
		return err
	}
	if _, err := sink.Add(ctx, a, &current{b}); err != nil {
		return fmt.Errorf("file %s of %s: %w", a.Kind, k.name, err)
	}
	return nil
}

// refused files what could not be had. A server that answered no is no error.
func (c *Collector) refused(ctx context.Context, sink evidence.Sink, a evidence.Artifact, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.Absent = &evidence.Absence{Status: evidence.Impossible, Reason: reason(err)}
	if _, e := sink.Add(ctx, a, nil); e != nil {
		return fmt.Errorf("file %s of %s: %w", a.Kind, a.Container, e)
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError && status.Status().Code != http.StatusTooManyRequests {
		return nil
	}
	return fmt.Errorf("get %s of %s: %w", a.Kind, a.Container, err)
}

func reason(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "permission missing: " + err.Error()
	case apierrors.IsNotFound(err):
		return "not there: " + err.Error()
	}
	return err.Error()
}
