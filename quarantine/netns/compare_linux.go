package netns

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// stoodSpec rebuilds the spec from what stands.
func stoodSpec(caseID string, found map[nftables.TableFamily]standing) (spec, error) {
	var comments []string
	for _, r := range found[nftables.TableFamilyINet].chains[aboutChain].rules {
		comments = append(comments, r.comment)
	}
	return readAbout(caseID, comments)
}

// differences says in what the kernel's tables are not the plan's: someone changed
// them. Base chains of devices that are gone are no difference; those of devices that
// came later are missing from neither.
func differences(want []table, found map[nftables.TableFamily]standing, present []device) []string {
	var all []string
	for _, t := range want {
		has, ok := found[t.family]
		if !ok {
			all = append(all, fmt.Sprintf("table %s is gone", familyName(t.family)))
			continue
		}
		known := map[string]bool{}
		for _, c := range t.chains {
			known[c.name] = true
			all = append(all, chainDifference(t, c, has.chains)...)
		}
		for name := range has.chains {
			if !known[name] && !ofGoneDevice(name, present) {
				all = append(all, fmt.Sprintf("table %s has a chain %q that irkit did not make", familyName(t.family), name))
			}
		}
		for _, s := range t.sets {
			if d := setDifference(s, has.elements); d != "" {
				all = append(all, fmt.Sprintf("table %s: %s", familyName(t.family), d))
			}
		}
	}
	slices.Sort(all)
	return all
}

func chainDifference(t table, c chain, has map[string]standingChain) []string {
	where := fmt.Sprintf("chain %s in table %s", c.name, familyName(t.family))
	got, ok := has[c.name]
	if !ok {
		return []string{where + " is gone"}
	}
	if c.hook != nil && (got.Hooknum == nil || *got.Hooknum != *c.hook || *got.Priority != c.priority ||
		got.Policy == nil || *got.Policy != nftables.ChainPolicyDrop) || c.hook == nil && got.Hooknum != nil {
		return []string{where + " has another hook, priority or policy"}
	}
	if len(got.rules) != len(c.rules) {
		return []string{fmt.Sprintf("%s has %d rules, want %d", where, len(got.rules), len(c.rules))}
	}
	for i, r := range c.rules {
		if got.rules[i].exprs != canonical(r.exprs) || got.rules[i].comment != r.comment {
			return []string{fmt.Sprintf("%s: rule %d is not irkit's", where, i+1)}
		}
	}
	return nil
}

// setDifference looks at elements that no timeout takes away.
func setDifference(s set, has map[string][]nftables.SetElement) string {
	got, ok := has[s.name]
	if !ok {
		return fmt.Sprintf("set %s is gone", s.name)
	}
	if !s.fixed && (!s.timeout || s.dynamic) {
		return ""
	}
	var want, lasting [][]byte
	want = slices.Clone(s.elements)
	for _, e := range got {
		if e.Timeout == 0 && e.Expires == 0 {
			lasting = append(lasting, e.Key)
		}
	}
	slices.SortFunc(want, bytes.Compare)
	slices.SortFunc(lasting, bytes.Compare)
	if !slices.EqualFunc(want, lasting, bytes.Equal) {
		return fmt.Sprintf("set %s has elements that irkit did not put there, or lacks some", s.name)
	}
	return ""
}

// ofGoneDevice reports a base chain whose device is no longer here: newer kernels keep
// the chain, without a hook.
func ofGoneDevice(name string, present []device) bool {
	_, index, ok := strings.Cut(name, "-device-")
	n, err := strconv.Atoi(index)
	return ok && err == nil && !slices.ContainsFunc(present, func(d device) bool { return d.index == n })
}

// covered are the devices, of those present, that have their base chains.
func covered(s spec, found map[nftables.TableFamily]standing, present []device) (yes, no []device) {
	has := found[nftables.TableFamilyNetdev].chains
	for _, d := range present {
		_, in := has[baseName(d, inbound)]
		_, out := has[baseName(d, outbound)]
		if in && (out || s.egress == clsactEgress) {
			yes = append(yes, d)
		} else {
			no = append(no, d)
		}
	}
	return yes, no
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyNetdev:
		return "netdev"
	case nftables.TableFamilyARP:
		return "arp"
	}
	return "inet"
}

// counterKey names a counter in a table.
type counterKey struct {
	family  nftables.TableFamily
	chain   string
	comment string
}

// counters are what the rules counted so far.
func counters(found map[nftables.TableFamily]standing) map[counterKey]expr.Counter {
	all := map[counterKey]expr.Counter{}
	for f, t := range found {
		for name, c := range t.chains {
			for _, r := range c.rules {
				k := counterKey{f, name, r.comment}
				n := all[k]
				all[k] = expr.Counter{Packets: n.Packets + r.packets, Bytes: n.Bytes + r.bytes}
			}
		}
	}
	return all
}
