package irkit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// module is the import path that every room stands below.
const module = "irkit.dev/irkit"

// A room is one package as `go list` tells of it. Imports are those of the package
// itself and of its tests; Deps is everything that it links, near or far.
type room struct {
	ImportPath   string
	Dir          string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

// rooms lists the packages that patterns name on Linux, where the agent runs.
func rooms(t *testing.T, patterns ...string) []room {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports,Deps"}, patterns...)...)
	cmd.Env = append(cmd.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	var wrong bytes.Buffer
	cmd.Stderr = &wrong
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(patterns, " "), err, wrong.String())
	}
	var all []room
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var r room
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		t.Fatalf("go list %s names no package", strings.Join(patterns, " "))
	}
	return all
}

// under reports whether path is prefix or stands below it.
func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

func underAny(path string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return under(path, p) })
}

// TestArrowsPointDown holds the order of the house: a room links only what stands
// on its own floor or below, directly or through others.
func TestArrowsPointDown(t *testing.T) {
	up := map[string][]string{ // room: what it must not link
		"evidence":   {"agent", "cluster", "collectors", "quarantine", "playbooks", "cmd"},
		"cluster":    {"agent", "collectors", "quarantine", "playbooks", "cmd"},
		"agent":      {"collectors", "quarantine", "playbooks", "cmd"},
		"collectors": {"quarantine", "playbooks", "cmd"},
		"quarantine": {"collectors", "playbooks", "cmd"},
		"playbooks":  {"cmd"},
	}
	seen := map[string]bool{}
	for _, r := range rooms(t, "./...") {
		for floor, above := range up {
			if !under(r.ImportPath, module+"/"+floor) {
				continue
			}
			seen[floor] = true
			for _, a := range above {
				if links(r.Deps, module+"/"+a) {
					t.Errorf("%s links %s: that is no lower floor than %s", r.ImportPath, a, floor)
				}
			}
		}
	}
	for floor := range up {
		if !seen[floor] {
			t.Errorf("no package below %s was seen", floor)
		}
	}
}

// TestLinkedWorlds holds which rooms may link the big libraries, by any way.
func TestLinkedWorlds(t *testing.T) {
	beside := []string{"cmd/irkit-agent", "agent/frame", "agent/known", "agent/worker", "agent/sockets", "collectors/inside", "quarantine/netns"}
	cluster := []string{"k8s.io", "sigs.k8s.io", module + "/cluster"}
	writers := []string{module + "/evidence/bag", module + "/evidence/seal", module + "/evidence/custody"}
	for _, wall := range []struct {
		rooms, but, never []string
		why               string
	}{
		{[]string{"evidence"}, nil, cluster, "a bundle is read where there is no cluster"},
		{[]string{"evidence"}, []string{"evidence/objectstore"}, []string{"github.com/minio"}, "only evidence/objectstore speaks S3"},
		{beside, nil, cluster, "what runs beside the target knows no Kubernetes"},
		{[]string{"evidence/verify"}, nil, writers, "what verifies shares nothing with what writes"},
	} {
		for _, r := range rooms(t, "./...") {
			own := strings.TrimPrefix(r.ImportPath, module+"/")
			if !underAny(own, wall.rooms...) || underAny(own, wall.but...) {
				continue
			}
			if i := slices.IndexFunc(r.Deps, func(d string) bool { return underAny(d, wall.never...) }); i >= 0 {
				t.Errorf("%s links %s: %s", r.ImportPath, r.Deps[i], wall.why)
			}
		}
	}
	agent := rooms(t, "./cmd/irkit-agent")[0]
	for _, must := range []string{"agent/worker", "collectors/inside", "quarantine/netns"} {
		if !slices.Contains(agent.Deps, module+"/"+must) {
			t.Errorf("%s does not link %s: then what did this test look at?", agent.ImportPath, must)
		}
	}
}

// TestKubectlHasOneRoom lets only quarantine/cordon import kubectl's 700 packages.
// Who links them must have come through it.
func TestKubectlHasOneRoom(t *testing.T) {
	const cordon = module + "/quarantine/cordon"
	through := false
	for _, r := range rooms(t, "./...") {
		through = through || r.ImportPath == cordon
		if r.ImportPath == cordon {
			continue
		}
		for _, i := range r.imports() {
			if under(i, "k8s.io/kubectl") {
				t.Errorf("%s imports %s: only %s may", r.ImportPath, i, cordon)
			}
		}
		if links(r.Deps, "k8s.io/kubectl") && !slices.Contains(r.Deps, cordon) {
			t.Errorf("%s links k8s.io/kubectl, and not by way of %s", r.ImportPath, cordon)
		}
	}
	if !through {
		t.Errorf("%s was not seen", cordon)
	}
}

// TestFlagsEndAtTheDoor keeps the command line's library out of every other room.
func TestFlagsEndAtTheDoor(t *testing.T) {
	for _, r := range rooms(t, "./...") {
		if under(r.ImportPath, module+"/cmd") || under(r.ImportPath, module+"/bench") {
			continue
		}
		for _, i := range r.Imports {
			if under(i, "github.com/urfave/cli") {
				t.Errorf("%s imports %s: flags end at cmd", r.ImportPath, i)
			}
		}
	}
}

func (r room) imports() []string {
	return slices.Concat(r.Imports, r.TestImports, r.XTestImports)
}

func links(deps []string, prefix string) bool {
	return slices.ContainsFunc(deps, func(d string) bool { return under(d, prefix) })
}
