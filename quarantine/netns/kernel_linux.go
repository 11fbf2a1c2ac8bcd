package netns

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
)

// buffers is room for a transaction and for the kernel's answers to each of its parts,
// which all wait until the last was sent. Without the right to force it the system's
// limit holds.
const buffers = 8 << 20

// open connects to nftables of the calling thread's network namespace.
func open() (*nftables.Conn, error) {
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetReadBuffer(buffers), c.SetWriteBuffer(buffers))
	}))
	if err != nil {
		return nil, fmt.Errorf("open netfilter socket: %w", err)
	}
	return c, nil
}

// standing is what the kernel has of one table.
type standing struct {
	family   nftables.TableFamily
	chains   map[string]standingChain
	elements map[string][]nftables.SetElement
}

type standingChain struct {
	nftables.Chain
	rules []standingRule
}

type standingRule struct {
	comment  string
	exprs    string // canonical
	packets  uint64
	bytes    uint64
	accepted bool
}

// cases are the cases of which a table stands here, with the families of those.
func cases(c *nftables.Conn) (map[string][]nftables.TableFamily, error) {
	all := map[string][]nftables.TableFamily{}
	for _, f := range kinds() {
		tables, err := c.ListTablesOfFamily(f)
		if err != nil {
			return nil, fmt.Errorf("list nftables tables: %w", err)
		}
		for _, t := range tables {
			if name, ok := strings.CutPrefix(t.Name, prefix); ok {
				all[name] = append(all[name], f)
			}
		}
	}
	return all, nil
}

// read reads the tables of a case; a table that does not stand is not in the answer.
// What stands there may be a hostile hand's: an answer that the library trips over is
// an error.
func read(c *nftables.Conn, caseID string) (found map[nftables.TableFamily]standing, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("read the rules of case %s: the kernel's answer makes no sense: %v", caseID, r)
		}
	}()
	found = map[nftables.TableFamily]standing{}
	name := prefix + caseID
	for _, f := range kinds() {
		tables, err := c.ListTablesOfFamily(f)
		if err != nil {
			return nil, fmt.Errorf("list nftables tables: %w", err)
		}
		for _, t := range tables {
			if t.Name != name {
				continue
			}
			if found[f], err = readTable(c, t); err != nil {
				return nil, fmt.Errorf("read the rules of case %s: %w", caseID, err)
			}
		}
	}
	return found, nil
}

func readTable(c *nftables.Conn, t *nftables.Table) (standing, error) {
	s := standing{family: t.Family, chains: map[string]standingChain{}, elements: map[string][]nftables.SetElement{}}
	chains, err := c.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return s, err
	}
	for _, ch := range chains {
		if ch.Table.Name != t.Name {
			continue
		}
		rules, err := c.GetRules(t, ch)
		if err != nil {
			return s, fmt.Errorf("rules of chain %q: %w", ch.Name, err)
		}
		sc := standingChain{Chain: *ch}
		for _, r := range rules {
			sr := standingRule{comment: comment(r.UserData), exprs: canonical(r.Exprs)}
			for _, e := range r.Exprs {
				switch e := e.(type) {
				case *expr.Counter:
					sr.packets, sr.bytes = e.Packets, e.Bytes
				case *expr.Verdict:
					sr.accepted = e.Kind == expr.VerdictAccept
				}
			}
			sc.rules = append(sc.rules, sr)
		}
		s.chains[ch.Name] = sc
	}
	for _, set := range sets(spec{}, t.Family) {
		// The library does not say why a set cannot be read; one that cannot is told as
		// a difference.
		if es, err := c.GetSetElements(&nftables.Set{Table: t, Name: set.name}); err == nil {
			s.elements[set.name] = es
		}
	}
	return s, nil
}

// canonical writes expressions without what counting changes, so that a plan and the
// kernel can be compared.
func canonical(exprs []expr.Any) string {
	var b strings.Builder
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Counter:
			b.WriteString("counter;")
			continue
		case *expr.Dynset:
			d := *e
			d.Exprs, d.SetID = nil, 0
			text, _ := json.Marshal(d)
			fmt.Fprintf(&b, "dynset%s{%s};", text, canonical(e.Exprs))
			continue
		case *expr.Lookup:
			e.SetID = 0
		}
		text, err := json.Marshal(e)
		if err != nil {
			text = []byte(err.Error())
		}
		fmt.Fprintf(&b, "%T%s;", e, text)
	}
	return b.String()
}

// comment reads the comment out of a rule's user data (libnftnl's type, length, value);
// it is "" where there is none that makes sense.
func comment(b []byte) string {
	for len(b) >= 2 {
		kind, size := userdata.Type(b[0]), int(b[1])
		if len(b) < 2+size {
			return ""
		}
		if kind == userdata.TypeComment {
			return strings.TrimRight(string(b[2:2+size]), "\x00")
		}
		b = b[2+size:]
	}
	return ""
}

func encodeComment(s string) []byte {
	return userdata.Append(nil, userdata.TypeComment, append([]byte(s[:min(len(s), 250)]), 0))
}
