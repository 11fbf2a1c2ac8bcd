package standard_test

import (
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors/standard"
)

type hand struct{ agent.Hand }

func (hand) Collect(context.Context, agent.Request, func(agent.Header, io.Reader) error) error {
	return nil
}

func TestMostVolatileFirst(t *testing.T) {
	of, err := standard.OfContainer(standard.Container{Hand: hand{}, Name: "app", Ordinal: "c0"})
	if err != nil {
		t.Fatal(err)
	}
	all := standard.Ordered(append(standard.OfCluster(standard.Cluster{}), of...)...)
	var names []string
	for i, c := range all {
		traits := c.Traits()
		if err := traits.Validate(); err != nil {
			t.Errorf("%s: %v", traits.Name, err)
		}
		if i > 0 && all[i-1].Traits().Volatility > traits.Volatility {
			t.Errorf("%s comes after %s", traits.Name, all[i-1].Traits().Name)
		}
		names = append(names, traits.Name)
	}
	want := "processes-c0 connections-c0 environment-c0 open-files-c0 mounts-c0 recovered-c0 events logs objects persistence-c0 filesystem-c0"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("order:\n%s\nwant\n%s", got, want)
	}
	if _, err := standard.OfContainer(standard.Container{Hand: hand{}, Ordinal: "c0"}, "memory"); err == nil {
		t.Error("took an unknown kind")
	}
}

// TestWorkerLinksNoKubernetes holds the wall between the binary beside the target and
// the API server's world.
func TestWorkerLinksNoKubernetes(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "irkit.dev/irkit/collectors/inside").CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, out)
	}
	for _, p := range strings.Fields(string(out)) {
		if strings.HasPrefix(p, "k8s.io/") || strings.HasPrefix(p, "sigs.k8s.io/") {
			t.Errorf("collectors/inside links %s", p)
		}
	}
}
