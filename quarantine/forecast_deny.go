package quarantine

import (
	"fmt"
	"slices"

	"irkit.dev/irkit/evidence"
)

// deny says of each policy that the layer deny writes whether the network plugin at hand
// is known to act on it: an API that is served is no plugin that runs.
func (f *forecaster) deny() {
	if _, why := unsuited(f.s, LayerDeny); why != "" {
		return
	}
	name := f.s.CNI.Name
	if name == "" {
		name = "the network plugin (not recognised)"
	}
	known := slices.ContainsFunc(offered(f.s), func(d denier) bool { return d.actedOn(f.s.CNI) })
	for _, d := range offered(f.s) {
		if d.actedOn(f.s.CNI) {
			continue
		}
		sev, text := evidence.Warning, "%s of %s is written, since the cluster serves it, but nothing shows that %s acts on it: it counts as what is measured"
		if known {
			sev = evidence.Note
		}
		f.add(sev, "deny-not-enforced", LayerDeny, d.kind, fmt.Sprintf(text, d.kind, d.Group, name))
	}
}

// actedOn: the plugin is known to enforce this API's policies.
func (d denier) actedOn(cni CNI) bool {
	return cni.Enforces == Enforces && slices.Contains(d.plugins, cni.Name)
}
