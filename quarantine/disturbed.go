package quarantine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/evidence"
)

// Disturbed holds what stands now against what was written, and says what others did to
// it since, in a fixed order. Pure. restarts is how often each container had been restarted
// when the case began; nil: restarts are not told.
func Disturbed(m Marks, done []Done, restarts map[string]int32) []evidence.Disturbance {
	var out []evidence.Disturbance
	add := func(c evidence.Change, code, object, by, text string) {
		out = append(out, evidence.Disturbance{At: m.At, Code: code, Layer: c.Layer, Change: c.ID, Object: object, By: by, Text: text})
	}
	for _, d := range done {
		c := d.Made()
		switch {
		case m.Pod == nil:
		case c.Layer == LayerLabel:
			marksGone(m, c, add)
		case c.Layer == LayerProtect && c.Op == evidence.OpPatch:
			unprotected(m, c, add)
		case c.Layer == LayerDetach:
			attachedAgain(m, c, add)
		case c.Layer == LayerCordon:
			uncordoned(m, c, add)
		case c.Op == evidence.OpCreate && c.Layer != "hand" && c.Layer != "probe":
			objectChanged(m, c, add)
		}
	}
	if m.Pod != nil && m.Pod.DeletionTimestamp != nil {
		out = append(out, deleting(m))
	}
	if restarts != nil && m.Pod != nil {
		out = append(out, restarted(m, restarts)...)
	}
	slices.SortStableFunc(out, func(a, b evidence.Disturbance) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Text, b.Text))
	})
	return out
}

// Made is the change as its write left it.
func (d Done) Made() evidence.Change {
	var r Result
	if d.Data == nil || json.Unmarshal(d.Data, &r) != nil {
		return d.Change
	}
	return Merge(d.Change, r)
}

type adder func(c evidence.Change, code, object, by, text string)

func marksGone(m Marks, c evidence.Change, add adder) {
	after, err := decodeFields(c.After)
	if err != nil {
		return
	}
	lacks := func(what, field string, have map[string]string, want map[string]*string) {
		for _, k := range slices.Sorted(maps.Keys(want)) {
			if now := value(have, k); !same(now, want[k]) {
				state := "is gone"
				if now != nil {
					state = fmt.Sprintf("is %q now", short(*now))
				}
				add(c, evidence.MarkGone, c.Object.String(), writer(m.Pod.ManagedFields, "metadata", field, k), fmt.Sprintf("the %s %s %s: someone took our mark away", what, k, state))
			}
		}
	}
	lacks("label", "labels", m.Pod.Labels, after.Metadata.Labels)
	if value(m.Pod.Annotations, evidence.AnnotationOriginal) == nil { // its text may be that of an earlier run
		lacks("annotation", "annotations", m.Pod.Annotations, after.Metadata.Annotations)
	}
}

func attachedAgain(m Marks, c evidence.Change, add adder) {
	after, err := decodeFields(c.After)
	if err != nil {
		return
	}
	by := map[string][]string{}
	for _, k := range slices.Sorted(maps.Keys(after.Metadata.Labels)) {
		if v, back := m.Pod.Labels[k]; back {
			who := writer(m.Pod.ManagedFields, "metadata", "labels", k)
			by[who] = append(by[who], fmt.Sprintf("%s=%s", k, short(v)))
		}
	}
	for _, who := range slices.Sorted(maps.Keys(by)) {
		text := "labels that were stripped are on the pod again: " + strings.Join(by[who], ", ") + "; Services, policies and controllers that select on them find it"
		add(c, evidence.LabelBack, c.Object.String(), who, text)
	}
	for _, r := range m.Pod.OwnerReferences {
		if after.Metadata.OwnerReferences != nil && r.Controller != nil && *r.Controller {
			add(c, evidence.OwnerBack, c.Object.String(), writer(m.Pod.ManagedFields, "metadata", "ownerReferences"),
				fmt.Sprintf("%s/%s owns the pod again, and may scale or clean it away", r.Kind, r.Name))
		}
	}
}

func uncordoned(m Marks, c evidence.Change, add adder) {
	node, read := m.Objects[c.ID]
	if !read || node == nil {
		return
	}
	var live corev1.Node
	if json.Unmarshal(encode(node.Object), &live) == nil && !live.Spec.Unschedulable {
		add(c, evidence.Uncordoned, c.Object.String(), writer(live.ManagedFields), "node "+live.Name+" takes new pods again")
	}
}

func objectChanged(m Marks, c evidence.Change, add adder) {
	live, read := m.Objects[c.ID]
	var want map[string]any
	switch {
	case !read || json.Unmarshal(c.After, &want) != nil:
	case live == nil:
		add(c, evidence.PolicyGone, c.Object.String(), "", c.Object.String()+" was deleted")
	case c.Object.UID != "" && string(live.GetUID()) != c.Object.UID:
		add(c, evidence.PolicyGone, c.Object.String(), writer(live.GetManagedFields()), c.Object.String()+" was deleted, and another one has its name")
	default:
		for _, field := range []string{"spec", "specs"} {
			if !covers(live.Object[field], want[field]) || extends(live.Object[field], want[field]) {
				add(c, evidence.PolicyChanged, c.Object.String(), writer(live.GetManagedFields(), field), c.Object.String()+" says something else than what this case wrote")
			}
		}
	}
}

// covers: everything that was written is there. The API server may have added defaults.
func covers(live, want any) bool {
	switch w := want.(type) {
	case nil:
		return true
	case map[string]any:
		l, ok := live.(map[string]any)
		for k, v := range w {
			if !ok || !covers(l[k], v) {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		if !ok && len(w) > 0 || len(l) != len(w) {
			return false
		}
		for i := range w {
			if !covers(l[i], w[i]) {
				return false
			}
		}
		return true
	}
	return fmt.Sprint(live) == fmt.Sprint(want)
}

// extends: rules stand there that were not written, or a selector selects by more. Only
// fields beside those that were written may have been filled in by the API server.
func extends(live, want any) bool {
	l, ok := live.(map[string]any)
	w, _ := want.(map[string]any)
	for k, v := range l {
		had, was := w[k]
		switch {
		case !ok:
		case was && narrows(v, had), !was && strings.Contains(strings.ToLower(k), "gress") && !nothing(v):
			return true
		}
	}
	return false
}

// narrows: a part that was written has more in it now.
func narrows(live, want any) bool {
	l, ok := live.(map[string]any)
	w, _ := want.(map[string]any)
	for k, v := range l {
		if had, was := w[k]; ok && (was && narrows(v, had) || !was && !nothing(v)) {
			return true
		}
	}
	return false
}

func nothing(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// deleting tells of a target that is on its way out. The API server puts the end of the grace
// period into deletionTimestamp; that the pod is still there does not mean that it still runs.
func deleting(m Marks) evidence.Disturbance {
	text := fmt.Sprintf("the pod is being deleted: it was given until %s, and what was not taken by then is lost", m.Pod.DeletionTimestamp.UTC().Format("15:04:05 UTC"))
	return evidence.Disturbance{At: m.At, Code: evidence.Deleting, Object: "Pod/" + m.Pod.Name + " in " + m.Pod.Namespace, Text: text}
}

// TargetGone tells of a target that is not there any more, as seen at a time.
func TargetGone(t evidence.Target, at time.Time) evidence.Disturbance {
	return evidence.Disturbance{At: at, Code: evidence.Gone, Object: "Pod/" + t.Pod + " in " + t.Namespace,
		Text: "the pod is gone, or another one has its name: what was measured since is not of it, and what was not taken by then is lost"}
}

// Restarts is how often each container of a pod was restarted.
func Restarts(p *corev1.Pod) map[string]int32 {
	out := map[string]int32{}
	for _, s := range p.Status.ContainerStatuses {
		out[s.Name] = s.RestartCount
	}
	return out
}

func restarted(m Marks, before map[string]int32) []evidence.Disturbance {
	var out []evidence.Disturbance
	for _, s := range m.Pod.Status.ContainerStatuses {
		n := s.RestartCount - before[s.Name]
		if n <= 0 {
			continue
		}
		text := fmt.Sprintf("container %s was restarted %d times: what was in its memory is lost", s.Name, n)
		if t := s.LastTerminationState.Terminated; t != nil {
			text += fmt.Sprintf("; it ended at %s with exit status %d (%s)", t.FinishedAt.UTC().Format(time.RFC3339), t.ExitCode, short(t.Reason))
		}
		c := slices.IndexFunc(m.Pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == s.Name })
		if c >= 0 && m.Pod.Spec.Containers[c].LivenessProbe != nil {
			text += "; it has a liveness probe, and the kubelet restarts what fails it"
		}
		out = append(out, evidence.Disturbance{At: m.At, Code: evidence.Restarted, Object: "Pod/" + m.Pod.Name + " in " + m.Pod.Namespace, Text: text})
	}
	return out
}
