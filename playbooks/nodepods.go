package playbooks

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"irkit.dev/irkit/agent/debugger"
	"irkit.dev/irkit/agent/nodepod"
	"irkit.dev/irkit/cluster"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// nodeSpace says whether the namespace of node pods is there. That it could not be looked
// for is no reason against it.
func (e *Engine) nodeSpace(ctx context.Context) bool {
	_, err := e.Conn.Client.CoreV1().Namespaces().Get(ctx, cluster.NodeNamespace, metav1.GetOptions{})
	return !apierrors.IsNotFound(err)
}

// nodePods says whether a node pod may be had: there is a namespace, and no right is missing.
func nodePods(space bool, missing []cluster.Missing) quarantine.NodePods {
	n := quarantine.NodePods{Setup: nodepod.Setup}
	for _, m := range missing {
		if m.Rule.Scope == evidence.InNodes {
			n.Missing = append(n.Missing, "not allowed: "+m.String())
		}
	}
	if !space {
		n.Missing = append(n.Missing, "namespace "+cluster.NodeNamespace+" is not there")
	}
	n.Ready = len(n.Missing) == 0
	return n
}

// nodePodLeft names the node pod that a session began to make, and had not taken away
// again when it ended; empty: there is none.
func nodePodLeft(records []evidence.Record) (left string) {
	for _, r := range records {
		if r.Change == nil || !nodepod.Is(*r.Change) {
			continue
		}
		switch {
		case r.Change.Op == evidence.OpCreate, r.Phase != evidence.Did:
			left = r.Change.Object.Namespace + "/" + r.Change.Object.Name
		case r.Change.Op == evidence.OpDelete:
			left = ""
		}
	}
	return left
}

// cutFromNode reports a case whose cut was made from a node pod: no hand stands then, as
// it should be.
func cutFromNode(records []evidence.Record) bool {
	for _, r := range records {
		if r.Change != nil && nodepod.Is(*r.Change) && r.Change.Op == evidence.OpCreate && r.Phase == evidence.Did {
			return true
		}
	}
	return false
}

// wantsNode reports a failure beside the target which a hand on its node does not share:
// admission, the kind of pod, the container's own limits.
func wantsNode(err error) bool {
	return errors.Is(err, debugger.ErrNoProfile) || errors.Is(err, debugger.ErrStaticPod) ||
		errors.Is(err, debugger.ErrUnsupported) || errors.Is(err, debugger.ErrConfig)
}

// refusalsOf are the admission's words in a failed start, for the record of the node pod.
func refusalsOf(errs ...error) []debugger.Refusal {
	var out []debugger.Refusal
	for _, err := range errs {
		var none *debugger.NoProfileError
		switch {
		case err == nil:
		case errors.As(err, &none):
			out = append(out, none.Refused...)
		default:
			out = append(out, debugger.Refusal{Reason: err.Error(), Err: err})
		}
	}
	return out
}
