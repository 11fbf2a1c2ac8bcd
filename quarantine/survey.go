package quarantine

import (
	"context"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine/reach"
)

// page is how many objects one LIST asks for.
const page = 500

// Survey reads the scene: all that depends on nothing in one round of parallel
// requests, and beside the rest the owners, then theirs, and the service account that the pod
// names. What is optional and refused is a Gap; the pod
// and the namespace's policies are required. ErrReplaced: the target is not there.
func Survey(ctx context.Context, conn *cluster.Conn, t evidence.Target) (Scene, error) {
	y := &surveyor{conn: conn, scene: Scene{Taken: time.Now().UTC(), Target: t, Namespace: Namespace{Name: t.Namespace}}}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for _, read := range []func(context.Context) error{
		y.podAndMore, y.node, y.namespace, y.policies, y.services, y.slices, y.budgets, y.siblings,
		y.ciliumNode, y.apiServer, y.dns, y.groups, y.daemonSets, y.clusterRoles, y.roles, y.clusterBindings, y.bindings,
	} {
		g.Go(func() error { return read(gctx) })
	}
	if err := g.Wait(); err != nil {
		return Scene{}, err
	}
	y.settle()
	return y.scene, nil
}

// surveyor collects a scene. Each reader writes fields of its own; gaps and signs, which
// several write, go through add and sign.
type surveyor struct {
	conn   *cluster.Conn
	mu     sync.Mutex
	scene  Scene
	apis   []string           // API groups
	served []string           // their versions
	agents []appsv1.DaemonSet // of the whole cluster
	cilium []netip.Addr       // of the CiliumNode
	pods   []corev1.Pod       // of the namespace
	marks  map[string]string  // the node's annotations
	rbac   access
}

func (y *surveyor) gap(what string, err error) error {
	if err == nil {
		return nil
	}
	why := "not allowed"
	if !apierrors.IsForbidden(err) {
		why = strings.Join(strings.Fields(err.Error()), " ")
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	y.scene.Gaps = append(y.scene.Gaps, Gap{What: what, Why: why})
	return nil
}

func (y *surveyor) podAndMore(ctx context.Context) error {
	if err := y.pod(ctx); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return y.owners(gctx) })
	g.Go(func() error { return y.account(gctx) })
	return g.Wait()
}

func (y *surveyor) pod(ctx context.Context) error {
	p, err := y.conn.Live(ctx, y.scene.Target)
	if err != nil {
		return err
	}
	if m := held(p); m != nil {
		y.scene.Quarantine = m
	}
	y.scene.Pod = scrubPod(p)
	return nil
}

func held(p *corev1.Pod) *Held {
	label, note := p.Labels[evidence.LabelQuarantine], p.Annotations[evidence.AnnotationOriginal]
	if label == "" && note == "" {
		return nil
	}
	h := &Held{Case: label, Label: label, Original: note}
	if u, _, _, err := ParseUndo(note); err == nil && u.Case != "" {
		h.Case = u.Case
	}
	if h.Case == "" {
		h.Case = "(unreadable)"
	}
	return h
}

func (y *surveyor) node(ctx context.Context) error {
	name := y.scene.Target.Node
	if name == "" {
		return nil
	}
	n, err := y.conn.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return y.gap("node "+name+" (its addresses, for the kubelet's probes)", err)
	}
	out := &Node{Name: n.Name, UID: string(n.UID), Unschedulable: n.Spec.Unschedulable, OS: n.Status.NodeInfo.OperatingSystem,
		Arch: n.Status.NodeInfo.Architecture, Kernel: n.Status.NodeInfo.KernelVersion, Runtime: n.Status.NodeInfo.ContainerRuntimeVersion}
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type != corev1.NodeExternalIP {
			out.Addresses = append(out.Addresses, ip.Unmap())
		}
	}
	cidrs := n.Spec.PodCIDRs
	if len(cidrs) == 0 && n.Spec.PodCIDR != "" {
		cidrs = []string{n.Spec.PodCIDR}
	}
	for _, c := range cidrs {
		if p, err := netip.ParsePrefix(c); err == nil {
			out.PodCIDRs = append(out.PodCIDRs, p.Masked())
		}
	}
	y.scene.Version = n.Status.NodeInfo.KubeletVersion
	y.scene.Node, y.marks = out, n.Annotations
	return nil
}

func (y *surveyor) namespace(ctx context.Context) error {
	ns, err := y.conn.Client.CoreV1().Namespaces().Get(ctx, y.scene.Target.Namespace, metav1.GetOptions{})
	if err != nil {
		return y.gap("namespace "+y.scene.Target.Namespace+" (its labels)", err)
	}
	y.scene.Namespace.Labels, y.scene.Namespace.Deleting = ns.Labels, ns.DeletionTimestamp != nil
	return nil
}

func (y *surveyor) policies(ctx context.Context) error {
	api := y.conn.Client.NetworkingV1().NetworkPolicies(y.scene.Target.Namespace)
	return y.conn.Explain("list network policies in "+y.scene.Target.Namespace, pages(func(o metav1.ListOptions) (string, error) {
		l, err := api.List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range l.Items {
			scrubMeta(&l.Items[i].ObjectMeta)
		}
		y.scene.Policies = append(y.scene.Policies, l.Items...)
		return l.Continue, nil
	}))
}

func (y *surveyor) services(ctx context.Context) error {
	api := y.conn.Client.CoreV1().Services(y.scene.Target.Namespace)
	return y.gap("services (which lose this endpoint)", pages(func(o metav1.ListOptions) (string, error) {
		l, err := api.List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range l.Items {
			scrubMeta(&l.Items[i].ObjectMeta)
		}
		y.scene.Services = append(y.scene.Services, l.Items...)
		return l.Continue, nil
	}))
}

func (y *surveyor) slices(ctx context.Context) error {
	api := y.conn.Client.DiscoveryV1().EndpointSlices(y.scene.Target.Namespace)
	return y.gap("endpoint slices", pages(func(o metav1.ListOptions) (string, error) {
		l, err := api.List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range l.Items {
			scrubMeta(&l.Items[i].ObjectMeta)
		}
		y.scene.Slices = append(y.scene.Slices, l.Items...)
		return l.Continue, nil
	}))
}

func (y *surveyor) budgets(ctx context.Context) error {
	api := y.conn.Client.PolicyV1().PodDisruptionBudgets(y.scene.Target.Namespace)
	return y.gap("pod disruption budgets", pages(func(o metav1.ListOptions) (string, error) {
		l, err := api.List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range l.Items {
			scrubMeta(&l.Items[i].ObjectMeta)
		}
		y.scene.Budgets = append(y.scene.Budgets, l.Items...)
		return l.Continue, nil
	}))
}

func (y *surveyor) siblings(ctx context.Context) error {
	api := y.conn.Client.CoreV1().Pods(y.scene.Target.Namespace)
	return y.gap("other pods of the namespace", pages(func(o metav1.ListOptions) (string, error) {
		l, err := api.List(ctx, o)
		if err != nil {
			return "", err
		}
		y.pods = append(y.pods, l.Items...)
		return l.Continue, nil
	}))
}

// pages calls list until there is no more.
func pages(list func(metav1.ListOptions) (string, error)) error {
	o := metav1.ListOptions{Limit: page}
	for {
		next, err := list(o)
		if err != nil || next == "" {
			return err
		}
		o.Continue = next
	}
}

// settle is what needs more than one reader's find, and puts everything in an order
// that does not depend on which answer came first.
func (y *surveyor) settle() {
	s := &y.scene
	y.settleIdentity()
	ref := metav1.GetControllerOf(&s.Pod)
	for i := range y.pods {
		if p := &y.pods[i]; string(p.UID) != s.Target.UID {
			s.Siblings = append(s.Siblings, sibling(p, ref))
		}
	}
	if s.Node != nil {
		s.Node.CNIHost = cniHost(y.cilium, y.marks)
	}
	if y.apis != nil && !slices.Contains(y.apis, "cilium.io") { // then nothing was missed
		s.Gaps = slices.DeleteFunc(s.Gaps, func(g Gap) bool { return strings.HasPrefix(g.What, "CiliumNode") })
	}
	s.CNI = detectCNI(y.apis, y.served, y.agents, y.marks, len(y.cilium) > 0)
	if s.Pod.Annotations["janitor/ttl"] != "" || s.Pod.Annotations["janitor/expires"] != "" {
		s.Reapers = append(s.Reapers, "kube-janitor, by an annotation on the pod")
	}
	slices.SortFunc(s.Foreign, func(a, b reach.Foreign) int { return strings.Compare(a.Title(), b.Title()) })
	sort.Slice(s.Siblings, func(i, j int) bool { return s.Siblings[i].Name < s.Siblings[j].Name })
	slices.SortFunc(s.Gaps, func(a, b Gap) int { return strings.Compare(a.What, b.What) })
	slices.Sort(s.Reapers)
}

func sibling(p *corev1.Pod, ref *metav1.OwnerReference) Sibling {
	out := Sibling{Name: p.Name, UID: string(p.UID), Node: p.Spec.NodeName, Phase: string(p.Status.Phase), Labels: p.Labels,
		Ports: ports(&p.Spec), HostNet: p.Spec.HostNetwork, Quarantine: p.Labels[evidence.LabelQuarantine]}
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out.IPs = append(out.IPs, a.Unmap())
		}
	}
	if own := metav1.GetControllerOf(p); own != nil && ref != nil {
		out.SameOwner = own.UID == ref.UID
	}
	return out
}

// ports are the declared ports of containers that run beside each other: regular ones and
// restartable init containers (KEP-753).
func ports(spec *corev1.PodSpec) []corev1.ContainerPort {
	var out []corev1.ContainerPort
	for _, c := range longRunning(spec) {
		out = append(out, c.Ports...)
	}
	return out
}

// longRunning are the regular containers, then the restartable init containers.
func longRunning(spec *corev1.PodSpec) []corev1.Container {
	out := slices.Clone(spec.Containers)
	for _, c := range spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}
