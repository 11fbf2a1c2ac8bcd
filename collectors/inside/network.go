//go:build linux

package inside

import (
	"context"
	"errors"
	"net"
	"path"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// Network is the artifact network: where packets would go, and who answers to names.
// Tables are the kernel's own text, so that nothing in them is lost.
type Network struct {
	Read       time.Time         `json:"read"`
	Interfaces []Interface       `json:"interfaces"`
	Routes     []Route           `json:"routes"`     // of every table, both families
	Rules      []string          `json:"rules"`      // which table is asked for what
	Neighbours []Neighbour       `json:"neighbours"` // both families
	Tables     map[string]string `json:"tables"`     // /proc/<pid>/net/<name>: route, ipv6_route, arp, dev, if_inet6, fib_trie, snmp
	Files      map[string]string `json:"files"`      // of the target: resolv.conf, hosts, hostname, nsswitch.conf
	FilesB64   map[string]string `json:"files_b64,omitempty"`
	Unread     map[string]string `json:"unread,omitempty"`
}

// Interface is one network device with its addresses.
type Interface struct {
	Index     int      `json:"index"`
	Name      string   `json:"name"`
	MAC       string   `json:"mac,omitempty"`
	MTU       int      `json:"mtu"`
	Flags     string   `json:"flags"`
	Addresses []string `json:"addresses"`
	Kind      string   `json:"kind,omitempty"` // veth, tun, wireguard, …
	Alias     string   `json:"alias,omitempty"`
	// Promiscuous counts who asked for frames that are not this device's.
	Promiscuous int      `json:"promiscuous,omitempty"`
	XDP         uint32   `json:"xdp_program,omitempty"` // ID of the BPF program at XDP
	Filters     []string `json:"tc_filters,omitempty"`  // at tc's ingress and egress
}

var (
	netTables = []string{"route", "ipv6_route", "arp", "dev", "if_inet6", "fib_trie", "snmp", "netstat", "igmp", "igmp6"}
	netFiles  = []string{"/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/etc/nsswitch.conf"}
)

func (b beside) network(ctx context.Context, q agent.Request, emit Emit) error {
	h := b.header("network", "json", "application/json", collectors.RankMemory, evidence.Restricted)
	n := Network{Read: time.Now().UTC(), Interfaces: []Interface{}, Tables: map[string]string{}, Files: map[string]string{}, Unread: map[string]string{}}
	// Devices are those of the calling thread's namespace, as the sockets are.
	devices, err := net.Interfaces()
	if err != nil {
		n.Unread["interfaces"] = cause(err)
	}
	links := map[int]netlink.Link{}
	if all, err := netlink.LinkList(); err != nil {
		n.Unread["links"] = cause(err)
	} else {
		for _, l := range all {
			links[l.Attrs().Index] = l
		}
	}
	n.routing()
	for _, d := range devices {
		i := Interface{Index: d.Index, Name: d.Name, MAC: d.HardwareAddr.String(), MTU: d.MTU, Flags: d.Flags.String(), Addresses: []string{}}
		addresses, err := d.Addrs()
		if err != nil {
			n.Unread["addresses of "+d.Name] = cause(err)
		}
		for _, a := range addresses {
			i.Addresses = append(i.Addresses, a.String())
		}
		if l, ok := links[d.Index]; ok {
			i.attached(l)
		}
		n.Interfaces = append(n.Interfaces, i)
	}
	for _, name := range netTables {
		raw, more, err := b.proc.read(1<<20, b.proc.of(b.TargetPID, "net", name))
		if err != nil {
			n.Unread[name] = cause(err)
			continue
		}
		if more {
			n.Unread[name] = "only its first MiB"
		}
		n.Tables[name], _ = text(string(raw))
	}
	n.names(b, q.SkipMounts)
	return stream(ctx, h, q.MaxBytes, emit, func(o *out) error { return o.line(n) })
}

// names reads the files that say who answers to which name.
func (n *Network) names(b beside, skip []string) {
	root, err := openTree(b.proc.of(b.TargetPID, "root"))
	if err != nil {
		n.Unread["root"] = cause(err)
		return
	}
	defer root.Close()
	mounts, wait := b.newMountTable(root, skip), newPatience(b.Budgets.Wait, 1)
	for _, p := range netFiles {
		raw, err := await(wait, func() (string, error) { return root.read(p, 1<<20, mounts) })
		if err != nil {
			n.Unread[p] = cause(err)
			continue
		}
		content, b64 := text(raw)
		n.Files[path.Base(p)] = content
		if b64 != "" {
			if n.FilesB64 == nil {
				n.FilesB64 = map[string]string{}
			}
			n.FilesB64[path.Base(p)] = b64
		}
	}
}

// read is the start of a regular file of the tree, links followed in it. A link into a
// volume that stays out, or into a pseudo file system (/proc/self/environ), is not.
func (t *tree) read(p string, max int, mounts *mountTable) (string, error) {
	handle, real, err := t.resolve(p, true)
	if err != nil {
		return "", err
	}
	defer unix.Close(handle)
	m, err := metaOf(handle)
	if err != nil {
		return "", err
	}
	if m.kind() != unix.S_IFREG {
		return "", errors.New("no regular file")
	}
	mount := mounts.of(m, real, mounts.base)
	if why, _ := mounts.left(mount); why != "" {
		return "", errors.New("left out: it leads into a " + why)
	}
	if info, ok := mounts.by(mount); mount != mounts.base && (!ok || pseudo[info.FS]) {
		return "", errors.New("left out: it leads into file system " + info.FS)
	}
	f, err := open(handle)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var s strings.Builder
	buf := make([]byte, 32<<10)
	for s.Len() < max {
		k, err := f.Read(buf[:min(len(buf), max-s.Len())])
		s.Write(buf[:k])
		if err != nil || k == 0 {
			break
		}
	}
	return s.String(), nil
}
