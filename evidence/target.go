package evidence

import "fmt"

// Domain is the prefix of irkit's labels, annotations and API group. It stands
// here once; everything else is derived from it.
const Domain = "irkit.dev"

// Labels, annotations and the finalizer that irkit writes.
const (
	LabelCase          = Domain + "/case"       // on every object that irkit creates
	LabelQuarantine    = Domain + "/quarantine" // on the target; the quarantine policy selects it
	AnnotationOriginal = Domain + "/original"   // on the target; what release needs, signed
	Finalizer          = Domain + "/evidence"   // on the target, where it was asked for; keeps its API object
)

// Target is the pod under investigation. It is comparable: the value is the
// identity, and no function below the door takes a namespace and a name again.
type Target struct {
	ClusterUID string `json:"cluster_uid"` // UID of namespace kube-system
	Namespace  string `json:"namespace"`
	Pod        string `json:"pod"`
	UID        string `json:"uid"`
	Node       string `json:"node"`
}

// String names the target for people: namespace/pod.
func (t Target) String() string { return t.Namespace + "/" + t.Pod }

// ShortUID is the first eight characters of the pod's UID, for names of objects.
func (t Target) ShortUID() string { return t.UID[:min(8, len(t.UID))] }

// Validate reports a target that is not pinned to one pod.
func (t Target) Validate() error {
	for name, v := range map[string]string{"cluster uid": t.ClusterUID, "namespace": t.Namespace, "pod": t.Pod, "uid": t.UID} {
		if v == "" {
			return fmt.Errorf("target %s: no %s", t, name)
		}
	}
	return nil
}
