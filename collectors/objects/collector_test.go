package objects_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/collectors/collectortest"
	"irkit.dev/irkit/collectors/objects"
	"irkit.dev/irkit/evidence"
)

var target = evidence.Target{ClusterUID: "k", Namespace: "prod", Pod: "web-0", UID: "pod-uid", Node: "n1"}

// secret values that are planted, and one that must come through.
const (
	plantedEnv     = "PLANTED-env-literal-11aa"
	plantedApplied = "PLANTED-last-applied-22bb"
	plantedConfig  = "PLANTED-configmap-33cc"
	plantedSecret  = "PLANTED-secret-44dd"
	plantedHeader  = "PLANTED-probe-header-55ee"
	plantedCopy    = "PLANTED-other-copy-66ff"
	controlArg     = "CONTROL-argument-77aa"
)

var documents = []string{
	`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-0","namespace":"prod","uid":"pod-uid",
	  "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"spec\":\"` + plantedApplied + `\"}","note":"kept-annotation",
	    "tool.example/copy":"{\"spec\":{\"containers\":[{\"env\":[{\"name\":\"A\",\"value\":\"` + plantedCopy + `\"}]}]}}"},
	  "managedFields":[{"manager":"kubectl-edit","operation":"Update","fieldsV1":{"f:spec":{"f:containers":{"k:{\"name\":\"app\"}":{"f:env":{}}}}}}],
	  "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-1","uid":"rs-uid","controller":true}]},
	 "spec":{"serviceAccountName":"web","nodeName":"n1","newerField":{"unknown":"to-this-program"},"imagePullSecrets":[{"name":"pull"}],
	  "containers":[{"name":"app","args":["` + controlArg + `"],"env":[{"name":"PASSWORD","value":"` + plantedEnv + `"},{"name":"FROM","valueFrom":{"secretKeyRef":{"name":"db","key":"password"}}}],
	    "envFrom":[{"configMapRef":{"name":"settings"}}],
	    "livenessProbe":{"httpGet":{"path":"/","port":80,"httpHeaders":[{"name":"Authorization","value":"` + plantedHeader + `"}]}}}],
	  "volumes":[{"name":"s","secret":{"secretName":"tls"}},{"name":"d","persistentVolumeClaim":{"claimName":"data"}}]},
	 "status":{"phase":"Running"}}`,
	`{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"web-1","namespace":"prod","uid":"rs-uid",
	  "ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"web","uid":"d-uid"}]},
	 "spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"PASSWORD","value":"` + plantedEnv + `"}]}]}}}}`,
	`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"prod","uid":"d-uid"}}`,
	`{"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{"name":"web-c1","namespace":"prod","ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment","name":"web","uid":"d-uid"}]},
	  "data":{"spec":{"template":{"spec":{"containers":[{"env":[{"name":"OLD","value":"` + plantedEnv + `"}]}]}}}}}`,
	`{"apiVersion":"apps/v1","kind":"ControllerRevision","metadata":{"name":"other","namespace":"prod"}}`,
	`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db","namespace":"prod"},"data":{"password":"UExBTlRFRC1zZWNyZXQtNDRkZA=="}}`,
	`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","namespace":"prod","resourceVersion":"7"},"data":{"db.conf":"` + plantedConfig + `"}}`,
	`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"web","namespace":"prod"}}`,
	`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"prod"}}`,
	`{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}`,
	`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"data","namespace":"prod"},"spec":{"volumeName":"pv-1"}}`,
	`{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"pv-1"}}`,
	`{"apiVersion":"v1","kind":"Service","metadata":{"name":"web","namespace":"prod"}}`,
	`{"apiVersion":"v1","kind":"Event","metadata":{"name":"e1","namespace":"prod"},"message":"Killing container app"}`,
	`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"mine","namespace":"prod"},"roleRef":{"kind":"Role","name":"reader"},"subjects":[{"kind":"ServiceAccount","name":"web","namespace":"prod"}]}`,
	`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"foreign","namespace":"prod"},"roleRef":{"kind":"Role","name":"foreign-role"},"subjects":[{"kind":"ServiceAccount","name":"other","namespace":"prod"}]}`,
	`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"everyone"},"roleRef":{"kind":"ClusterRole","name":"view"},"subjects":[{"kind":"Group","name":"system:serviceaccounts"}]}`,
	`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"reader","namespace":"prod"}}`,
	`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"view"}}`,
}

var lists = map[schema.GroupVersionResource]string{
	{Version: "v1", Resource: "services"}:                                                "ServiceList",
	{Version: "v1", Resource: "events"}:                                                  "EventList",
	{Group: "events.k8s.io", Version: "v1", Resource: "events"}:                          "EventList",
	{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}:               "EndpointSliceList",
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}:             "NetworkPolicyList",
	{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}:                   "IngressList",
	{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}:                   "PodDisruptionBudgetList",
	{Group: "apps", Version: "v1", Resource: "controllerrevisions"}:                      "ControllerRevisionList",
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"}:        "RoleBindingList",
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}: "ClusterRoleBindingList",
}

func cluster(t *testing.T) *fake.FakeDynamicClient {
	t.Helper()
	var all []runtime.Object
	for _, d := range documents {
		u := &unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(d), &u.Object); err != nil {
			t.Fatalf("%v in %s", err, d)
		}
		all = append(all, u)
	}
	return fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), lists, all...)
}

func refuse(c *fake.FakeDynamicClient, resource string) dynamic.Interface {
	c.PrependReactor("*", resource, func(a clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", fmt.Errorf("no"))
	})
	return c
}

func TestNoValueLeaves(t *testing.T) {
	for _, secrets := range []bool{false, true} {
		sink := &collectortest.Sink{}
		c := cluster(t)
		if !secrets {
			refuse(c, "secrets") // must not even be asked for
		}
		if err := objects.New(objects.Options{Dynamic: c, HMACKey: []byte("k"), ReadSecrets: secrets}).Collect(t.Context(), target, sink); err != nil {
			t.Fatal(err)
		}
		for _, planted := range []string{plantedEnv, plantedApplied, plantedConfig, plantedSecret, plantedHeader, plantedCopy, "UExBTlRFRC1zZWNyZXQtNDRkZA"} {
			if kinds := sink.Contains(planted); kinds != nil {
				t.Errorf("%s is in %v", planted, kinds)
			}
		}
		for _, kept := range []string{controlArg, "kept-annotation", "to-this-program", "kubectl-edit", "PASSWORD", "db.conf", "hmac_sha256"} {
			if sink.Contains(kept) == nil {
				t.Errorf("%s is nowhere", kept)
			}
		}
		for _, a := range c.Actions() {
			if a.GetResource().Resource == "secrets" && !secrets {
				t.Errorf("secrets were asked for: %v", a)
			}
		}
		if n := len(sink.Kind("secrets")); secrets != (n > 0) {
			t.Errorf("read secrets %v: %d entries", secrets, n)
		}
	}
}

func TestWhatIsCollected(t *testing.T) {
	sink := &collectortest.Sink{}
	if err := objects.New(objects.Options{Dynamic: cluster(t)}).Collect(t.Context(), target, sink); err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string][]string{
		"pod": {`"web-0"`, `"managedFields"`}, "owners": {`"web-1"`, `"Deployment"`}, "controllerrevisions": {`"web-c1"`},
		"rolebindings": {`"mine"`}, "roles": {`"reader"`}, "clusterrolebindings": {`"everyone"`}, "clusterroles": {`"view"`},
		"persistentvolumeclaims": {`"data"`}, "persistentvolumes": {`"pv-1"`}, "services": {`"web"`}, "node": {`"n1"`}, "namespace": {`"prod"`},
		"secret-names": {`"db"`, `"tls"`, `"pull"`, `env FROM of app`}, "serviceaccount": {`"web"`},
	} {
		items := sink.Kind(kind)
		if len(items) != 1 || items[0].Absent != nil {
			t.Errorf("%s: %d entries", kind, len(items))
			continue
		}
		for _, w := range want {
			if !strings.Contains(string(items[0].Bytes), w) {
				t.Errorf("%s: no %s in %s", kind, w, items[0].Bytes)
			}
		}
		if !json.Valid(items[0].Bytes) {
			t.Errorf("%s: no JSON: %s", kind, items[0].Bytes)
		}
		if items[0].Section != evidence.Kubernetes || items[0].Trust != evidence.TrustAPI {
			t.Errorf("%s: filed as %+v", kind, items[0].Artifact)
		}
	}
	for _, foreign := range []string{"foreign-role", `"other"`} {
		if kinds := sink.Contains(foreign); kinds != nil {
			t.Errorf("%s, which is not the pod's, is in %v", foreign, kinds)
		}
	}
	if l := sink.Kind("networkpolicies"); len(l) != 1 || l[0].Absent != nil || !json.Valid(l[0].Bytes) {
		t.Errorf("an empty list is no list: %+v", l)
	}
}

func TestRefusedPartsDoNotStopTheRest(t *testing.T) {
	c := cluster(t)
	for _, r := range []string{"replicasets", "clusterrolebindings", "nodes", "configmaps", "networkpolicies"} {
		refuse(c, r)
	}
	sink := &collectortest.Sink{}
	if err := objects.New(objects.Options{Dynamic: c}).Collect(t.Context(), target, sink); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"owners", "clusterrolebindings", "node", "configmaps", "networkpolicies"} {
		items := sink.Kind(kind)
		if len(items) != 1 || items[0].Entry.Status != evidence.Impossible || !strings.Contains(items[0].Entry.Reason, "permission missing") {
			t.Errorf("%s: %+v", kind, items)
		}
	}
	if len(sink.Kind("pod")) != 1 || sink.Kind("pod")[0].Absent != nil {
		t.Error("the pod is missing")
	}
}

func TestReplacedPod(t *testing.T) {
	other := target
	other.UID = "earlier-uid"
	sink := &collectortest.Sink{}
	if err := objects.New(objects.Options{Dynamic: cluster(t)}).Collect(t.Context(), other, sink); err != nil {
		t.Fatal(err)
	}
	if p := sink.Kind("pod"); len(p) != 1 || p[0].Entry.Status != evidence.Impossible || !strings.Contains(p[0].Entry.Reason, "earlier-uid") {
		t.Errorf("pod: %+v", p)
	}
}

func TestOwnerOfAnotherUID(t *testing.T) {
	c := cluster(t)
	gvr := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
	u, err := c.Resource(gvr).Namespace("prod").Get(t.Context(), "web-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	u.SetUID("someone-else")
	if _, err := c.Resource(gvr).Namespace("prod").Update(t.Context(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	sink := &collectortest.Sink{}
	if err := objects.New(objects.Options{Dynamic: c}).Collect(t.Context(), target, sink); err != nil {
		t.Fatal(err)
	}
	if o := sink.Kind("owners"); len(o) != 1 || o[0].Entry.Status != evidence.Impossible {
		t.Errorf("owners: %+v", o)
	}
}

func TestConform(t *testing.T) {
	for name, make := range map[string]func(objects.Options) collectors.Collector{
		"objects": func(o objects.Options) collectors.Collector { return objects.New(o) },
		"events":  func(o objects.Options) collectors.Collector { return objects.NewEvents(o) },
	} {
		t.Run(name, func(t *testing.T) {
			collectortest.Conform(t, collectortest.Subject{
				Target: target,
				Whole:  func(t *testing.T) collectors.Collector { return make(objects.Options{Dynamic: cluster(t)}) },
				Denied: func(t *testing.T) collectors.Collector {
					return make(objects.Options{Dynamic: refuse(cluster(t), "*")})
				},
			})
		})
	}
}
