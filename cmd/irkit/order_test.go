package main

import (
	"slices"
	"testing"
)

func TestOrderPutsFlagsBeforeArguments(t *testing.T) {
	app := new(door).app()
	for _, c := range []struct{ in, want []string }{
		{[]string{"contain", "web-0", "-n", "prod"}, []string{"contain", "-n", "prod", "web-0"}},
		{[]string{"contain", "web-0", "--namespace=prod", "-y"}, []string{"contain", "--namespace=prod", "-y", "web-0"}},
		{[]string{"contain", "web-0", "--yes", "other"}, []string{"contain", "--yes", "web-0", "other"}},
		{[]string{"contain", "-n", "prod", "web-0"}, []string{"contain", "-n", "prod", "web-0"}},
		{[]string{"agent", "push", "ref", "--bogus"}, []string{"agent", "push", "--bogus", "ref"}},
		{[]string{"run", "p.yaml", "web-0", "--case", "c1"}, []string{"run", "--case", "c1", "p.yaml", "web-0"}},
		{[]string{"contain", "--", "-n", "prod"}, []string{"contain", "--", "-n", "prod"}},
		{[]string{"contain", "contain", "-n", "prod"}, []string{"contain", "-n", "prod", "contain"}},
		{[]string{"contain", "web-0", "-n"}, []string{"contain", "-n", "web-0"}},
	} {
		if got := order(app, c.in); !slices.Equal(got, c.want) {
			t.Errorf("order(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}
