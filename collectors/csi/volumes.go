// Package csi has the storage behind a pod's volumes take snapshots of them
// (snapshot.storage.k8s.io/v1). What it writes are objects beside the target; the target
// goes on and notices nothing. A snapshot is crash-consistent: as after a cut of the power.
package csi

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"irkit.dev/irkit/evidence"
)

const (
	group      = "snapshot.storage.k8s.io"
	apiVersion = group + "/v1"
	// The annotation that makes a class the one of its driver.
	defaultClass = group + "/is-default-class"
)

var (
	snapshots = schema.GroupVersionResource{Group: group, Version: "v1", Resource: "volumesnapshots"}
	contents  = schema.GroupVersionResource{Group: group, Version: "v1", Resource: "volumesnapshotcontents"}
	classes   = schema.GroupVersionResource{Group: group, Version: "v1", Resource: "volumesnapshotclasses"}
)

// Volume is one volume of the pod, and how its content can be had.
type Volume struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"` // persistentVolumeClaim, emptyDir, …: as in the pod's specification
	Claim  string `json:"claim,omitempty"`
	UID    string `json:"claim_uid,omitempty"`
	PV     string `json:"persistent_volume,omitempty"`
	Driver string `json:"driver,omitempty"`
	Handle string `json:"volume_handle,omitempty"`
	Class  string `json:"class,omitempty"` // of the snapshot
	Retain bool   `json:"class_retains,omitempty"`
	// Why says why there can be no snapshot; empty: there can. Policy tells that it is no
	// failure: such volumes have none.
	Why    string `json:"why,omitempty"`
	Policy bool   `json:"-"`
}

// Rules are the permissions that snapshots take. None is required: what may not be had is
// an entry that says so.
func Rules() []evidence.Rule {
	rule := func(g, resource string, scope evidence.Scope, why string, verbs ...string) evidence.Rule {
		return evidence.Rule{Group: g, Resource: resource, Verbs: verbs, Scope: scope, Why: why}
	}
	return []evidence.Rule{
		rule("", "persistentvolumeclaims", evidence.InTarget, "which storage is behind the pod's volumes", "get"),
		rule("", "persistentvolumes", evidence.InCluster, "which driver serves them", "get"),
		rule(group, "volumesnapshotclasses", evidence.InCluster, "how the driver takes snapshots", "list"),
		rule(group, "volumesnapshots", evidence.InTarget, "take snapshots of the pod's volumes", "create", "get"),
		rule(group, "volumesnapshotcontents", evidence.InCluster, "read what the storage calls a snapshot, and have it outlive its namespace", "get", "patch"),
	}
}

// Cluster is what is asked of it.
type Cluster struct {
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
}

// Survey reads what is behind each volume of a pod, in spec order. class names the class
// to use; empty: the default one of the driver, else its only one, else its only one that
// retains. What cannot be read is said in the volume. Volumes that hold configuration and
// credentials are left out: other artifacts tell of them.
func (c Cluster) Survey(ctx context.Context, pod *corev1.Pod, class string) ([]Volume, error) {
	var out []Volume
	for _, v := range pod.Spec.Volumes {
		one := Volume{Name: v.Name, Kind: kindOf(v), Claim: claimOf(pod, v)}
		switch {
		case one.Kind == "":
			continue
		case one.Claim == "":
			one.Policy, one.Why = true, one.Kind+" volumes have no snapshots; --include-volumes copies what containers mount"
		default:
			c.behind(ctx, pod.Namespace, &one)
		}
		out = append(out, one)
	}
	if !slices.ContainsFunc(out, func(v Volume) bool { return v.Why == "" }) {
		return out, ctx.Err()
	}
	all, err := c.classes(ctx)
	for i := range out {
		switch v := &out[i]; {
		case v.Why != "":
		case apierrors.IsNotFound(err):
			v.Why = "the cluster has no volume snapshots (" + apiVersion + " is not served)"
		case err != nil:
			v.Why = "snapshot classes cannot be listed: " + err.Error()
		default:
			v.Class, v.Retain, v.Why = choose(all, v.Driver, class)
		}
	}
	return out, ctx.Err()
}

// kindOf names what is behind a volume as the pod's specification does; empty for volumes
// that hold configuration and credentials.
func kindOf(v corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return "persistentVolumeClaim"
	case v.Ephemeral != nil:
		return "ephemeral"
	case v.EmptyDir != nil:
		return "emptyDir"
	case v.HostPath != nil:
		return "hostPath"
	case v.NFS != nil:
		return "nfs"
	case v.CSI != nil:
		return "inline csi"
	case v.Image != nil:
		return "image"
	case v.Secret != nil, v.ConfigMap != nil, v.Projected != nil, v.DownwardAPI != nil:
		return ""
	}
	return "in-tree"
}

// claimOf is the claim of a volume. A generic ephemeral one has a claim of the pod's and its
// own name (KEP-1698).
func claimOf(pod *corev1.Pod, v corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

func (c Cluster) behind(ctx context.Context, namespace string, v *Volume) {
	claim, err := c.Client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, v.Claim, metav1.GetOptions{})
	if err != nil {
		v.Why = fmt.Sprintf("claim %s cannot be read: %v", v.Claim, err)
		return
	}
	v.UID, v.PV = string(claim.UID), claim.Spec.VolumeName
	if v.PV == "" || claim.Status.Phase != corev1.ClaimBound {
		v.Why = fmt.Sprintf("claim %s is not bound to a volume (%s)", v.Claim, claim.Status.Phase)
		return
	}
	pv, err := c.Client.CoreV1().PersistentVolumes().Get(ctx, v.PV, metav1.GetOptions{})
	switch {
	case err != nil:
		v.Why = fmt.Sprintf("volume %s cannot be read: %v", v.PV, err)
	case pv.Spec.CSI == nil:
		v.Why = fmt.Sprintf("volume %s is of no CSI driver: only such have snapshots; --include-volumes copies what containers mount", v.PV)
	default:
		v.Driver, v.Handle = pv.Spec.CSI.Driver, pv.Spec.CSI.VolumeHandle
	}
}

func (c Cluster) classes(ctx context.Context) ([]unstructured.Unstructured, error) {
	list, err := c.Dynamic.Resource(classes).List(ctx, metav1.ListOptions{Limit: 500})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// choose picks the class for a driver, and says why there is none.
func choose(all []unstructured.Unstructured, driver, wanted string) (name string, retains bool, why string) {
	var of, standard, retaining []string
	keeps := map[string]bool{}
	for _, c := range all {
		if text(c, "driver") != driver {
			if wanted != "" && c.GetName() == wanted {
				return "", false, fmt.Sprintf("snapshot class %s is for driver %s, and the volume's is %s", wanted, text(c, "driver"), driver)
			}
			continue
		}
		name := c.GetName()
		of = append(of, name)
		keeps[name] = text(c, "deletionPolicy") == retain
		if keeps[name] {
			retaining = append(retaining, name)
		}
		if c.GetAnnotations()[defaultClass] == "true" {
			standard = append(standard, name)
		}
	}
	slices.Sort(of)
	switch {
	case wanted != "" && slices.Contains(of, wanted):
		name = wanted
	case wanted != "":
		return "", false, fmt.Sprintf("there is no snapshot class %s", wanted)
	case len(standard) == 1:
		name = standard[0]
	case len(of) == 1:
		name = of[0]
	case len(of) == 0:
		return "", false, fmt.Sprintf("driver %s has no snapshot class", driver)
	case len(retaining) == 1:
		name = retaining[0]
	default:
		return "", false, fmt.Sprintf("driver %s has several snapshot classes and no default: name one (class: in the playbook) of %v", driver, of)
	}
	return name, keeps[name], ""
}

func text(o unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(o.Object, path...)
	return s
}
