package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/agent/embedded"
	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/playbooks"
	"irkit.dev/irkit/playbooks/actions"
	"irkit.dev/irkit/playbooks/builtin"
)

// check is one line of what the doctor says.
type check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

func (d *door) doctor() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "is everything ready for the night you need it?",
		Description: "Asks the cluster and this machine, and writes nothing but the signing key on first use.",
		Flags:       flags([]cli.Flag{outputFlag()}, clusterFlags(), keyFlag()),
		Action: func(c *cli.Context) error {
			checks := d.examine(c)
			if asData(c) {
				if _, err := d.data(c, checks); err != nil {
					return err
				}
			} else {
				var rows [][]string
				for _, k := range checks {
					word := "ok"
					if !k.OK {
						word = "MISSING"
					}
					rows = append(rows, []string{word, k.Name, quote(k.Text)})
				}
				width, _ := terminal(d.stdout)
				table(d.stdout, width, rows)
			}
			for _, k := range checks {
				if !k.OK {
					return outcome{statusFailed, fmt.Errorf("not ready: %s", k.Name)}
				}
			}
			return nil
		},
	}
}

func (d *door) examine(c *cli.Context) []check {
	var out []check
	add := func(name string, err error, text string) bool {
		if err != nil {
			text = err.Error()
		}
		out = append(out, check{name, err == nil, text})
		return err == nil
	}
	for _, arch := range []string{"amd64", "arm64"} {
		b, err := embedded.Binary(arch)
		add("agent "+arch, err, fmt.Sprintf("%d bytes embedded", len(b)))
	}
	engine, err := d.engine(c)
	if !add("context and signing key", err, "") {
		return out
	}
	out[len(out)-1].Text = fmt.Sprintf("context %s, key %s", engine.Conn.Context, engine.Actor.Key)
	who, err := engine.Conn.WhoAmI(c.Context)
	if !add("API server", engine.Conn.Explain("ask who we are", err), "we are "+who.Name) {
		return out
	}
	if offset, within, ok := engine.Conn.ClockOffset(); ok {
		add("clocks", nil, fmt.Sprintf("the API server's differs from ours by %s, give or take %s", offset.Round(time.Millisecond), within.Round(time.Millisecond)))
	}
	source, err := builtin.Source("contain")
	if err != nil {
		add("playbook", err, "")
		return out
	}
	plan, err := playbooks.Compile("builtin/contain.yaml", source, actions.Standard())
	if !add("playbook", err, "contain") {
		return out
	}
	target := evidence.Target{Namespace: engine.Conn.Namespace}
	missing, err := engine.Conn.Check(c.Context, target, engine.AllRules(plan))
	if !add("permissions", err, "all that contain and release use, in namespace "+target.Namespace) {
		return out
	}
	for _, m := range missing {
		word := "optional: "
		if m.Rule.Required {
			word = "required: "
		}
		out = append(out, check{"permission", !m.Rule.Required, word + m.String() + ", to " + m.Rule.Why})
	}
	admin, err := engine.Conn.Admin(c.Context)
	if err == nil && admin {
		out = append(out, check{"least privilege", true, "we may do everything here: irkit needs far less (irkit rbac)"})
	}
	return out
}
