package revoke

import (
	"fmt"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/quarantine"
)

// Forecast says what follows from these steps, for whom else, and what they do not reach.
// Pure. force lets accounts be touched that much else hangs on.
func Forecast(s quarantine.Scene, steps []string, force bool) (findings []evidence.Finding, refused []string) {
	i := s.Identity
	add := func(sev evidence.Severity, code, layer, text string) {
		findings = append(findings, evidence.Finding{Severity: sev, Code: code, Layer: layer, Object: i.Object.String(), Text: text})
	}
	if i == nil {
		return []evidence.Finding{{Severity: evidence.Refused, Code: "account-unknown", Text: "the pod's service account was not surveyed"}}, steps
	}
	if why := protected(i); why != "" {
		for _, l := range steps {
			if force {
				add(evidence.Warning, "account-protected", l, why)
				continue
			}
			add(evidence.Refused, "account-protected", l, why+": --force does it all the same")
			refused = append(refused, l)
		}
	}
	wants := func(l string) bool { return slices.Contains(steps, l) && !slices.Contains(refused, l) }
	radius(s, wants, add)
	for _, g := range i.Grants {
		switch {
		case g.Group != "" && wants(Bindings) && powerful(i, g):
			add(evidence.Note, "bound-through-group", Bindings, fmt.Sprintf("what %s %q gives comes through group %q and stays: it cannot be taken from this account alone", g.Binding.Kind, g.Binding.Name, g.Group))
		case g.Group == "" && wants(Bindings) && manager(g) != "":
			add(evidence.Warning, "managed-elsewhere", Bindings, fmt.Sprintf("%s %q is written by %s, which may put it back: suspend that first", g.Binding.Kind, g.Binding.Name, manager(g)))
		}
	}
	for _, g := range s.Gaps {
		if strings.HasPrefix(g.What, "names of secrets") && (wants(LegacyTokens) || wants(DeletedTokens)) {
			for _, l := range []string{LegacyTokens, DeletedTokens} {
				if wants(l) {
					add(evidence.Refused, "tokens-unknown", l, "which secrets are tokens of the account is not known ("+g.Why+"): the right to list secrets is needed")
					refused = append(refused, l)
				}
			}
		}
	}
	if (wants(LegacyTokens) || wants(DeletedTokens)) && len(i.Legacy) == 0 {
		add(evidence.Note, "no-legacy-token", "", "service account "+i.Name+" has no legacy token")
	}
	if wants(LegacyTokens) || wants(DeletedTokens) || wants(Account) {
		add(evidence.Note, "cached-for-seconds", "", "the API server keeps an answer on a token for 10 s: until then a token that was used just before still works")
	}
	if !wants(Account) {
		add(evidence.Note, "bound-token-lives", "", "the token that the pod itself holds is bound to it and works until the pod object is gone; by itself it cannot be revoked")
	}
	if wants(Account) && !wants(Bindings) && named(i) {
		add(evidence.Note, "rights-stay", Account, "bindings name the account, so that the new one has the same rights: who can still make tokens of it has them too; add --bindings")
	}
	for _, t := range i.Tokens {
		if t.Audience != "" {
			add(evidence.Warning, "verified-elsewhere", "", fmt.Sprintf("a token of the pod is for audience %q, where it is accepted to its end (%d s) whatever is done here", t.Audience, t.Seconds))
		}
	}
	for _, p := range i.Powers {
		if p.Code == "create-tokens" || p.Code == "read-secrets" || p.Code == "impersonate-accounts" {
			add(evidence.Warning, "other-credentials", "", "the account may "+p.Text+" "+p.Where()+": tokens of other accounts may be out, and nothing here ends those")
		}
	}
	return findings, refused
}

// protected says why an account is not one application's own.
func protected(i *quarantine.Identity) string {
	switch {
	case strings.HasPrefix(i.Namespace, "kube-"):
		return "service account " + i.Name + " of " + i.Namespace + " is part of the cluster itself, which may stop working without it"
	case i.Name == "default":
		return "service account default is what every pod of " + i.Namespace + " uses that names no other"
	}
	return ""
}

// radius names the other pods that a step reaches.
func radius(s quarantine.Scene, wants func(string) bool, add func(evidence.Severity, string, string, string)) {
	i := s.Identity
	if !wants(Bindings) && !wants(LegacyTokens) && !wants(DeletedTokens) && !wants(Account) {
		return
	}
	if slices.ContainsFunc(s.Gaps, func(g quarantine.Gap) bool { return strings.HasPrefix(g.What, "other pods") }) {
		add(evidence.Warning, "blast-radius", "", "which other pods use the account could not be read")
		return
	}
	if len(i.Pods) == 0 {
		add(evidence.Note, "blast-radius", "", "no other pod of "+i.Namespace+" uses service account "+i.Name)
		return
	}
	who := strings.Join(i.Pods, ", ")
	if wants(Bindings) {
		add(evidence.Warning, "blast-radius", Bindings, "these pods use the same account and lose the same rights at once: "+who)
	}
	if wants(LegacyTokens) || wants(DeletedTokens) {
		add(evidence.Warning, "blast-radius", "", "whoever uses a legacy token of the account, outside of the cluster too, is locked out; pods of the account: "+who)
	}
	if wants(Account) {
		add(evidence.Warning, "blast-radius", Account, "these pods use the same account and are refused (401) until the kubelet gives them new tokens, at 80 % of the former's life, or until they are restarted: "+who)
	}
}

func named(i *quarantine.Identity) bool {
	return slices.ContainsFunc(i.Grants, func(g quarantine.Grant) bool { return g.Group == "" })
}

// powerful: one of the account's powers comes by that binding.
func powerful(i *quarantine.Identity, g quarantine.Grant) bool {
	by := fmt.Sprintf("%s %q, through group", g.Binding.Kind, g.Binding.Name)
	return slices.ContainsFunc(i.Powers, func(p quarantine.Power) bool {
		return slices.ContainsFunc(p.By, func(s string) bool { return strings.HasPrefix(s, by) })
	})
}

// manager names the tool that says in the object that it writes it.
func manager(g quarantine.Grant) string {
	if v := g.Labels["app.kubernetes.io/managed-by"]; v != "" {
		return fmt.Sprintf("%q", v)
	}
	if g.Labels["kustomize.toolkit.fluxcd.io/name"] != "" || g.Labels["helm.toolkit.fluxcd.io/name"] != "" {
		return "Flux"
	}
	if g.Annotations["argocd.argoproj.io/tracking-id"] != "" {
		return "Argo CD"
	}
	return ""
}
