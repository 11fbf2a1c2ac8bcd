//go:build linux

package inside

import (
	"context"
	"fmt"
	"net/netip"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/agent/sockets"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// Owner is a process that holds a socket.
type Owner struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
	Exe  string `json:"exe,omitempty"`
	Self bool   `json:"self,omitempty"`

	fd string
}

// Socket is one line of the artifact connections.
type Socket struct {
	Opened string `json:"opened"`
	Proto  string `json:"proto"` // tcp, udp, udplite, sctp, raw, ping, unix, vsock, netlink, packet, xdp; other
	// Kernel is the kernel's own word for the protocol of a socket that a process holds and
	// that is in no table: of a family without one (AF_VSOCK, ALG), never bound (TCP), or
	// of another network namespace.
	Kernel   string         `json:"kernel,omitempty"`
	Family   int            `json:"family,omitempty"`
	Type     string         `json:"type,omitempty"` // of a unix or packet socket
	State    string         `json:"state,omitempty"`
	Local    netip.AddrPort `json:"local,omitzero"`
	Remote   netip.AddrPort `json:"remote,omitzero"`
	Path     string         `json:"path,omitempty"` // of a unix socket; "@" begins an abstract name
	PathB64  string         `json:"path_b64,omitempty"`
	Peer     uint64         `json:"peer_inode,omitempty"`
	Device   int            `json:"ifindex,omitempty"`
	Protocol uint16         `json:"ethertype,omitempty"`
	Queue    uint32         `json:"queue,omitempty"`
	LocalVM  string         `json:"local_vm,omitempty"` // of a vsock: context ID and port; it passes every network policy
	RemoteVM string         `json:"remote_vm,omitempty"`
	Netlink  string         `json:"netlink,omitempty"` // family: route, sock_diag, audit, …
	UID      *uint32        `json:"uid,omitempty"`
	Inode    uint64         `json:"inode,omitempty"`
	RecvQ    uint32         `json:"recv_queue,omitempty"`
	SendQ    uint32         `json:"send_queue,omitempty"`
	Sent     *uint64        `json:"bytes_acked,omitempty"`
	Recv     *uint64        `json:"bytes_received,omitempty"`
	Owners   []Owner        `json:"owners"` // none: not found, or held by no process
}

// Flows are the TCP and UDP sockets of the tables.
func (t *Tables) Flows() []evidence.Flow {
	flows := []evidence.Flow{}
	for _, s := range t.Sockets {
		if s.Proto != "tcp" && s.Proto != "udp" {
			continue
		}
		f := evidence.Flow{Proto: s.Proto, Local: s.Local, Remote: s.Remote, State: s.State, Inode: s.Inode}
		if s.Sent != nil {
			f.Sent, f.Recv = *s.Sent, *s.Recv
		}
		if len(s.Owners) > 0 {
			f.PID, f.Comm = s.Owners[0].PID, s.Owners[0].Comm
		}
		flows = append(flows, f)
	}
	return flows
}

// sockets reads every table that can be read. Notes name those that cannot; the
// error is for none at all.
func (b beside) sockets() (all []Socket, notes []string, err error) {
	full := false
	add := func(s Socket) {
		if full = full || len(all) == b.Budgets.Sockets; !full {
			s.Opened = opening
			all = append(all, s)
		}
	}
	read, failed := 0, error(nil)
	did := func(table string, err error) {
		if err == nil {
			read++
			return
		}
		failed = err
		notes = append(notes, fmt.Sprintf("%s sockets: %s", table, cause(err)))
	}
	for _, t := range []struct {
		name string
		read func() ([]sockets.Socket, error)
	}{{"tcp", sockets.TCP}, {"udp", sockets.UDP}, {"raw", sockets.Raw}, {"udplite", sockets.UDPLite}, {"sctp", sockets.SCTP}, {"ping", sockets.Ping}} {
		ss, err := t.read()
		did(t.name, err)
		for _, s := range ss {
			line := Socket{
				Proto: s.Proto, Family: s.Family, State: s.State, Local: s.Local, Remote: s.Remote,
				Device: int(s.Device), UID: &s.UID, Inode: s.Inode, RecvQ: s.RecvQ, SendQ: s.SendQ,
			}
			if s.Counted {
				line.Sent, line.Recv = &s.Acked, &s.Recv
			}
			add(line)
		}
	}
	us, err := sockets.UnixDomain()
	did("unix", err)
	for _, s := range us {
		line := Socket{Proto: "unix", Type: s.Type, State: s.State, Inode: s.Inode, Peer: s.Peer}
		line.Path, line.PathB64 = text(s.Name)
		add(line)
	}
	vs, err := sockets.VMSockets()
	if err == nil { // kernels without them answer with an error: they have none
		for _, s := range vs {
			add(Socket{Proto: "vsock", Type: s.Type, State: s.State, LocalVM: s.Local, RemoteVM: s.Remote, Inode: s.Inode})
		}
	}
	ns, err := sockets.NetlinkSockets()
	did("netlink", err)
	for _, s := range ns {
		add(Socket{Proto: "netlink", Netlink: s.Protocol, Inode: s.Inode})
	}
	ps, err := sockets.PacketSockets()
	did("packet", err)
	for _, s := range ps {
		add(Socket{Proto: "packet", Type: s.Type, Protocol: s.Proto, Device: s.Device, UID: &s.UID, Inode: s.Inode})
	}
	xs, _, err := sockets.XDPSockets()
	if err == nil { // kernels without AF_XDP answer with an error: they have none
		for _, s := range xs {
			add(Socket{Proto: "xdp", Device: s.Device, Queue: s.Queue, Inode: s.Inode})
		}
	}
	if full {
		notes = append(notes, fmt.Sprintf("more than %d sockets: the table is cut", b.Budgets.Sockets))
	}
	if read == 0 {
		return nil, notes, failed
	}
	return all, notes, nil
}

// connections tells of the opening's sockets, then of those of now; after that the
// rest of what the network looks like from here.
func (b beside) connections(ctx context.Context, q agent.Request, emit Emit) error {
	h := b.header("connections", "jsonl", jsonLines, collectors.RankMemory, evidence.Restricted)
	// The tables are those of this thread's network namespace: read before the stream
	// goes on in a goroutine of its own.
	current, err := b.read(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err = absent(h, evidence.Impossible, emit, "socket tables: %s", cause(err))
	} else if current.Sockets == nil && b.opening == nil {
		err = absent(h, evidence.Impossible, emit, "socket tables: %v", current.Notes)
	} else {
		err = stream(ctx, h, q.MaxBytes, emit, func(o *out) error {
			return writeSockets(o, b.opening, current)
		})
	}
	if err != nil {
		return err
	}
	return b.network(ctx, q, emit)
}

func writeSockets(o *out, tables ...*Tables) error {
	for i, t := range tables {
		if t == nil {
			continue
		}
		for _, note := range t.Notes {
			o.note("%s", note)
		}
		for _, s := range t.Sockets {
			if i > 0 {
				s.Opened = now
			}
			if s.Owners == nil {
				s.Owners = []Owner{}
			}
			if err := o.line(s); err != nil {
				return err
			}
		}
	}
	return nil
}
