package main

import "testing"

// TestAsOther: the hint is the command that was given, as a shell reads it.
func TestAsOther(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"contain", "web-0", "-n", "prod", "--yes"}, "irkit contain web-0 -n prod --yes --as responder"},
		{[]string{"contain", "--authority", "it's $HOME", "web-0"}, `irkit contain --authority 'it'\''s $HOME' web-0 --as responder`},
		{[]string{"run", "--", "-book.yaml", "web-0"}, "irkit run --as responder -- -book.yaml web-0"},
	} {
		if got := asOther(tc.args, "responder"); got != tc.want {
			t.Errorf("%q: %s, want %s", tc.args, got, tc.want)
		}
	}
}
