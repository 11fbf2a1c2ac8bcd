//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"irkit.dev/irkit/evidence"
)

// during starts irkit, calls do once its custody log has that many records, and waits for
// the end. met says that do was called while irkit ran.
func (p *person) during(after int, do func(), args ...string) (r ran, met bool) {
	p.t.Helper()
	ctx, done := context.WithTimeout(p.t.Context(), 4*time.Minute)
	defer done()
	c := p.command(ctx, args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	var err error
	for running := true; running && !met; {
		select {
		case err = <-ended:
			running = false
		case <-time.After(500 * time.Microsecond):
			if _, had := p.custody(); had >= after {
				met = true
				do()
			}
		}
	}
	if met {
		err = <-ended
	}
	r = ran{stdout: out.String(), stderr: errs.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		p.t.Fatal(err)
	}
	p.t.Logf("irkit %q\nexit %d, disturbed %v\n%s", args, r.code, met, r.stderr)
	return r, met
}

// chaos are the arguments of runChaos.
func (p *person) chaos(pod, caseID string, more ...string) []string {
	return append([]string{"run", p.write("chaotic.yaml", chaotic), pod, "-n", ownNamespace, "--image", image, "--pull", "Never", "--yes", "-o", "json", "--case", caseID}, more...)
}

// TestServerRestarts ends the API server in the middle of contain and starts it again: the
// session goes on or seals what it has, what held goes on holding, and status tells it.
// It is no parallel test: nobody else could work meanwhile.
func TestServerRestarts(t *testing.T) {
	if labTool == "" {
		t.Fatal("IRKIT_LAB_PROGRAM names no lab: run `make e2e`")
	}
	points := []int{4, 10}
	if soak() {
		points = []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25}
	}
	c := cluster(t)
	for _, k := range points {
		t.Run(fmt.Sprint("after record ", k), func(t *testing.T) {
			name := fmt.Sprint("restart-", k)
			pod := victim(t, c, name)
			p := newPerson(t)
			r, met := p.during(k, func() {
				out, err := exec.CommandContext(t.Context(), labTool, "restart-apiserver", "1s").CombinedOutput()
				t.Logf("%s", out)
				if err != nil {
					t.Fatal(err)
				}
			}, p.chaos(pod.Name, "case-"+name)...)
			if !met {
				t.Logf("contain had come to its end before record %d", k)
			}
			p.checkHonest(t, c, pod, "case-"+name, r)
			if v := r.result(t).Verdict; (r.code == 5) == (v != nil && v.State == evidence.Contained) {
				t.Errorf("exit %d with verdict %+v", r.code, v)
			}
			p.again(t, pod.Name, "case-"+name)
			p.checkStands(t, c, pod, "case-"+name)
			checkNotTakenBack(t, p, "case-"+name)
			p.release(pod.Name, ownNamespace, "--to-service", "--case", "case-"+name).want(t, 0)
			checkUntouched(t, c, pod, "case-"+name)
		})
	}
}

// checkNotTakenBack wants no record of an undoing in a case that nobody released.
func checkNotTakenBack(t *testing.T, p *person, caseID string) {
	t.Helper()
	for _, r := range lines[evidence.Record](t, []byte(p.log(t))) {
		if r.Action == evidence.ActReleased && r.Change != nil {
			t.Errorf("case %s: %s was undone, and nobody asked for it", caseID, r.Change.ID)
		}
	}
}
