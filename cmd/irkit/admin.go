package main

import (
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"irkit.dev/irkit/playbooks"
)

// warnAdmin says once that who acts may do everything, and how to act with less: by
// impersonation, which the API server's audit log shows as such.
func (d *door) warnAdmin(c *cli.Context, e *playbooks.Engine, namespace string, look playbooks.Prospect) {
	if !look.Admin {
		return
	}
	who := e.Actor.Kube
	if who == "" {
		who = "this context's user"
	}
	d.warn("%s may do everything in this cluster: irkit needs far less, and nothing limits a mistake", quote(who))
	bound := e.Conn.Responder(c.Context, namespace)
	if bound == "" {
		d.hint("bind the least rights, then act with them: irkit rbac -n %s --user irkit-responder | kubectl apply -f -", namespace)
		bound = "irkit-responder"
	}
	d.hint("%s", asOther(d.args, bound))
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// asOther is the command line that was given, with the identity to act as.
func asOther(args []string, who string) string {
	words := append([]string{"irkit"}, args...)
	at := len(words)
	if i := slices.Index(words, "--"); i > 0 {
		at = i
	}
	words = slices.Insert(words, at, "--as", who)
	for i, w := range words {
		if !plainWord.MatchString(w) {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
