package netns

import (
	"os/exec"
	"strings"
	"testing"
)

// sleeper starts a process in the namespace that does nothing until the test ends.
func (s *space) sleeper(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.must(t, cmd.Start)
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	return cmd.Process.Pid
}

func TestRightsThatPassTheCut(t *testing.T) {
	for name, c := range map[string]struct {
		status string
		bypass bool
		want   string
	}{
		"root in a plain container":   {"Name:\tsh\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\n", false, ""},
		"the same behind clsact":      {"CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n", true, "BYPASS"},
		"privileged":                  {"CapEff:\t000001ffffffffff\n", false, "has NET_ADMIN"},
		"permitted alone":             {"CapPrm:\t0000000000001000\n", false, "may raise"},
		"bounding, user 1000":         {"CapBnd:\t0000000000001000\nNoNewPrivs:\t0\n", false, "setuid"},
		"bounding, no new privileges": {"CapBnd:\t0000000000001000\nNoNewPrivs:\t1\n", false, ""},
		"a name that claims a right":  {"Name:\tCapEff:\t000001ffffffffff\nCapEff:\t0\n", false, ""},
	} {
		got := parseStatus(c.status).weak(c.bypass)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
