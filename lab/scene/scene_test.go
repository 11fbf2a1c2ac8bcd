package scene

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"irkit.dev/irkit/lab/apply"
)

// What the end-to-end suite relies on by name.
func TestSceneHoldsWhatTheSuiteNames(t *testing.T) {
	objects, err := apply.Objects(files)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*unstructured.Unstructured{}
	for _, object := range objects {
		found[object.GetKind()+" "+object.GetNamespace()+"/"+object.GetName()] = object
	}
	for _, wanted := range []string{
		"Namespace /prod", "Namespace /edge-ns", "StatefulSet prod/web", "Service prod/web", "Service prod/web-svc",
		"Secret prod/web-secrets", "Deployment prod/shop", "Service prod/shop", "Pod prod/loner", "Pod prod/duo",
		"Pod prod/plain", "Pod edge-ns/edge", "Pod prod/ledger", "PersistentVolumeClaim prod/ledger",
	} {
		if found[wanted] == nil {
			t.Errorf("the scene has no %s", wanted)
		}
	}
}

func TestSceneNeverPulls(t *testing.T) {
	entries, err := files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := files.ReadFile(entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		if images, never := strings.Count(text, "lab.local/"), strings.Count(text, "imagePullPolicy: Never"); images != never {
			t.Errorf("%s: %d images, %d of them never pulled", entry.Name(), images, never)
		}
	}
}
