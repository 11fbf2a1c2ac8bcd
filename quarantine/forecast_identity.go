package quarantine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
)

// IdentityFindings are what a forecast says of the target's credentials alone. Pure.
func IdentityFindings(s Scene) []evidence.Finding {
	f := &forecaster{s: s}
	f.identity()
	return f.out.Findings
}

// identity says what the target's credentials let their holder do. Isolating the pod takes
// none of them away: a token that was sent out works from elsewhere.
func (f *forecaster) identity() {
	i := f.s.Identity
	if i == nil {
		return
	}
	name := "service account " + i.Name
	undoes := i.Undoes()
	for _, l := range slices.Sorted(maps.Keys(undoes)) {
		if l == LayerLabel {
			continue // the policy that selects it is told of
		}
		f.add(evidence.Warning, "target-can-undo", l, i.String(), undoes[l]+
			fmt.Sprintf(": whoever holds its token could take layer %s away; it then is only a brake until irkit revoke --bindings", l))
	}
	if len(i.Powers) > 0 && i.holdsToken() {
		f.add(evidence.Warning, "account-powers", "", i.String(), name+" may "+powersText(i.Powers)+"; isolation does not take that away")
	}
	if text := i.Secrets.text(); text != "" && i.holdsToken() {
		f.add(evidence.Warning, "secrets-in-reach", "", i.String(), name+" may read "+text+": count them as known to the intruder")
	}
	if len(i.Used) > 0 {
		f.add(evidence.Note, "secrets-used", "", "", "the pod holds secrets "+strings.Join(i.Used, ", ")+": to be rotated")
	}
	for _, t := range i.Tokens {
		f.add(evidence.Note, "token-held", "", t.Volume, t.text(i.Name))
	}
	for _, c := range i.Cloud {
		f.add(evidence.Warning, "cloud-identity", "", c.Source, fmt.Sprintf("the pod stands for %s %q (%s): what it may do in the cloud goes on until it is revoked there; irkit revoke --dry-run=client prints the commands",
			c.Provider, c.Principal, c.Source))
	}
	if len(i.Sources) == 0 {
		f.add(evidence.Note, "account-unknown", "", i.String(), "what "+name+" may do could not be read or asked: whether it could undo the quarantine is not known")
	}
}

// powersText joins powers of one place.
func powersText(all []Power) string {
	var order []string
	at := map[string][]string{}
	for _, p := range all {
		where := p.Where()
		if at[where] == nil {
			order = append(order, where)
		}
		text := p.Text
		if len(p.Names) > 0 {
			text += fmt.Sprintf(" (only %q)", p.Names)
		}
		if !slices.Contains(at[where], text) {
			at[where] = append(at[where], text)
		}
	}
	var parts []string
	for _, where := range order {
		parts = append(parts, where+": "+strings.Join(at[where], ", "))
	}
	return strings.Join(parts, "; ")
}

func (r SecretReach) text() string {
	var parts []string
	if r.Everywhere {
		parts = append(parts, "every secret of the cluster")
	}
	if len(r.Namespaces) > 0 && !r.Everywhere {
		parts = append(parts, "every secret of "+strings.Join(r.Namespaces, ", "))
	}
	for _, ns := range slices.Sorted(maps.Keys(r.Named)) {
		where := ns
		if ns == "*" {
			where = "any namespace"
		}
		parts = append(parts, fmt.Sprintf("secrets %q of %s", r.Named[ns], where))
	}
	if len(r.Names) > 0 {
		parts = append(parts, fmt.Sprintf("of the pod's namespace these %d: %s", len(r.Names), strings.Join(r.Names, ", ")))
	}
	return strings.Join(parts, "; ")
}

func (t Token) text(account string) string {
	at := "in volume " + t.Volume
	if !t.Mounted {
		at += ", which no container mounts"
	}
	switch {
	case t.Secret != "":
		return fmt.Sprintf("the pod holds legacy token %s of service account %s (%s): it has no end, and lives until irkit revoke --legacy-tokens", t.Secret, account, at)
	case t.Audience != "":
		return fmt.Sprintf("the pod holds a token of service account %s for audience %q (%s), %d s long: who verifies it by the cluster's keys alone accepts it to its end", account, t.Audience, at, t.Seconds)
	}
	return fmt.Sprintf("the pod holds a token of service account %s (%s): it works until the pod object is gone, at most for its lifetime (%d s asked for; an API server that extends tokens gives up to a year)", account, at, t.Seconds)
}
