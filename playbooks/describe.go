package playbooks

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/evidence"
)

// described is what a bundle says of itself beside its entries.
type described struct {
	meta         evidence.Meta
	completeness evidence.Completeness
	environment  environment
}

// environment is meta/environment.json: the machines and programs that took part.
type environment struct {
	Tool       evidence.Tool   `json:"tool"`
	Go         string          `json:"go"`
	OS         string          `json:"os"`
	Arch       string          `json:"arch"`
	Context    string          `json:"context"`
	Server     string          `json:"api_server"`
	Kubernetes string          `json:"kubernetes_version,omitempty"`
	Node       any             `json:"node,omitempty"`
	CNI        any             `json:"cni,omitempty"`
	Hands      []debugger.Info `json:"hands"`
	Gaps       any             `json:"survey_gaps,omitempty"`
}

func (s *session) describe() described {
	entries := s.bag.Entries()
	return described{meta: s.meta(entries), completeness: Complete(s.planned(), s.order.Pod, entries), environment: s.surroundings()}
}

// planned are the kinds of artifacts that this run should give.
func (s *session) planned() []string {
	if !s.look.Needs.Hand {
		return s.look.Needs.Artifacts
	}
	return append(slices.Clone(s.look.Needs.Artifacts), s.order.Wanted()...)
}

func (s *session) meta(entries []evidence.Entry) evidence.Meta {
	keyID := sha256.Sum256(s.site.Key.For("values"))
	env := "names-and-hmac"
	if s.order.Values {
		env = "raw"
	}
	return evidence.Meta{
		Schema: evidence.MetaSchema, Bundle: s.bag.ID(), Case: s.order.Case,
		Target: metaTarget(s.order.Pod, s.order.Target, s.Conn.Context, s.Conn.Cluster, s.look),
		Window: evidence.Window{Started: s.began, Finished: s.Now()},
		Clocks: s.clocks(), Method: s.method(), Tool: s.Tool, Operator: s.Actor,
		Legal:   evidence.Legal{Authority: s.order.Authority},
		Results: count(entries), Custody: s.log.Head().Prev(), Digests: []string{"sha256", "sha512"},
		Order: volatility(entries),
		Privacy: evidence.Privacy{
			Environment: env, HMAC: "hmac-sha256", KeyID: fmt.Sprintf("%x", keyID[:8]), Justified: s.order.Justification,
		},
	}
}

func metaTarget(pod *corev1.Pod, t evidence.Target, context, server string, look Prospect) evidence.MetaTarget {
	m := evidence.MetaTarget{
		Target: t, Context: context, Server: server, ServerVersion: look.Scene.Version, CNI: look.Scene.CNI.Name,
		ServiceAccount: pod.Spec.ServiceAccountName, QoS: string(pod.Status.QOSClass), HostNetwork: pod.Spec.HostNetwork,
	}
	for _, o := range pod.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			m.Owner = o.Kind + "/" + o.Name
		}
	}
	for _, ip := range pod.Status.PodIPs {
		m.IPs = append(m.IPs, ip.IP)
	}
	for i, c := range pod.Spec.Containers {
		mc := evidence.MetaContainer{Name: c.Name, Ordinal: fmt.Sprintf("c%d", i), Image: c.Image}
		for _, st := range pod.Status.ContainerStatuses {
			if st.Name == c.Name {
				mc.Digest, mc.ID = st.ImageID, st.ContainerID
			}
		}
		m.Containers = append(m.Containers, mc)
	}
	return m
}

func (s *session) clocks() evidence.Clocks {
	c := evidence.Clocks{Local: s.Now()}
	if offset, within, ok := s.Conn.ClockOffset(); ok {
		ms := -offset.Milliseconds() // what to add to the server's time to get ours
		c.APIOffset, c.Uncertainty = &ms, within.Milliseconds()
		c.APIServer = c.Local.Add(offset)
	}
	return c
}

func (s *session) method() evidence.Method {
	m := evidence.Method{Mode: "api", Footprint: s.site.Alterations()}
	for _, h := range s.site.Hands.Started() {
		info := h.Info()
		mode := "debugger"
		switch {
		case info.Profile == debugger.Node:
			mode = "node"
		case info.Beside == "":
			continue
		}
		m.Mode, m.Image, m.Transport = mode, info.Image, string(h.Transport())
		if m.Profile == "" {
			m.Profile = string(info.Profile)
		}
	}
	return m
}

func (s *session) surroundings() environment {
	e := environment{
		Tool: s.Tool, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Context: s.Conn.Context, Server: s.Conn.Cluster, Kubernetes: s.look.Scene.Version,
		Node: s.look.Scene.Node, CNI: s.look.Scene.CNI, Gaps: s.look.Scene.Gaps,
	}
	for _, h := range s.site.Hands.Started() {
		e.Hands = append(e.Hands, h.Info())
	}
	return e
}

func count(entries []evidence.Entry) evidence.Results {
	r := evidence.Results{Entries: len(entries)}
	for _, e := range entries {
		r.Bytes += e.Size
		switch e.Status {
		case evidence.Collected:
			r.Collected++
		case evidence.Truncated:
			r.Truncated++
		case evidence.Changed:
			r.Changed++
		case evidence.LeftOut:
			r.LeftOut++
		case evidence.Impossible:
			r.Impossible++
		}
	}
	return r
}

// volatility is the order in which things were read, by rank.
func volatility(entries []evidence.Entry) []evidence.OrderStep {
	byRank := map[int]*evidence.OrderStep{}
	var ranks []int
	for _, e := range entries {
		step, there := byRank[e.Volatility]
		if !there {
			step = &evidence.OrderStep{Rank: e.Volatility, Started: e.Started, Result: "ok"}
			byRank[e.Volatility] = step
			ranks = append(ranks, e.Volatility)
		}
		if !strings.Contains(" "+step.Step+" ", " "+e.Kind+" ") {
			step.Step = strings.TrimSpace(step.Step + " " + e.Kind)
		}
		step.Started = earlier(step.Started, e.Started)
		if e.Finished.After(step.Finished) {
			step.Finished = e.Finished
		}
		if e.Status == evidence.Truncated || e.Status == evidence.Impossible {
			step.Result = "partial"
		}
	}
	slices.Sort(ranks)
	var out []evidence.OrderStep
	for _, r := range ranks {
		out = append(out, *byRank[r])
	}
	return out
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
