package quarantine

import (
	"errors"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// What the API server answers when a test of a JSON patch fails says nothing of the test
// (k8s.io/apiserver, endpoints/handlers/patch.go); seen on a cluster between two irkits.
func TestAFailedTestOfAPatchIsKnown(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"a failed test":         {apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", "testing value /metadata/labels failed", 0, false), true},
		"a lost race":           {apierrors.NewConflict(pods, "p", errors.New("x")), true},
		"refused by validation": {apierrors.NewInvalid(schema.GroupKind{Kind: "Pod"}, "p", field.ErrorList{field.Invalid(field.NewPath("metadata"), "x", "bad")}), false},
		"not allowed":           {apierrors.NewForbidden(pods, "p", errors.New("x")), false},
	} {
		if got := moved(c.err); got != c.want {
			t.Errorf("%s (%v): %v", name, c.err, got)
		}
	}
}
