package actions

import (
	"irkit.dev/irkit/playbooks/builtin"
	"irkit.dev/irkit/quarantine/revoke"
)

// Sources are the playbooks by what they are for: those that irkit ships, and what
// `irkit revoke` makes when everything is chosen.
func Sources() map[string][]byte {
	all := map[string][]byte{"revoke": RevokePlaybook([]string{revoke.Bindings, revoke.LegacyTokens, revoke.Account})}
	for _, file := range builtin.Names() {
		if source, err := builtin.Source(file); err == nil {
			all[file] = source
		}
	}
	return all
}
