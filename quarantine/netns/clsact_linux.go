package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// passMark is put on packets that the IP layer let through, so that the filter on
	// the device can tell them from frames of a packet socket. To set a mark takes
	// NET_ADMIN on the kernels that need this way.
	passMark = 0x69726b74
	// filterHandle and filterPriority name our filter among others of the device.
	filterHandle   = 0x69726b74
	filterPriority = 1
)

// From linux/pkt_cls.h and linux/filter.h.
const (
	bpfOpsLen = 4 // TCA_BPF_OPS_LEN
	bpfOps    = 5 // TCA_BPF_OPS
	bpfFlags  = 8 // TCA_BPF_FLAGS
	actUnspec = 0xffffffff
	actShot   = 2
	adMark    = 0xfffff000 + 20 // SKF_AD_OFF + SKF_AD_MARK
)

// frames is the filter in classic BPF, which takes no right but NET_ADMIN: what the IP
// layer and the ARP table marked goes on to what else is there, the rest is dropped.
func frames() []unix.SockFilter {
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: adMark},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: passMark},
		{Code: unix.BPF_RET | unix.BPF_K, K: actUnspec},
		{Code: unix.BPF_RET | unix.BPF_K, K: actShot},
	}
}

// withClsact holds the way out of every device by traffic control, then installs the
// rest. A device that cannot be held so is left, and the report names it.
func withClsact(want spec, devices []device, old former) error {
	want.egress = clsactEgress
	for _, d := range devices {
		has, err := hasClsact(d)
		if err == nil && !has && !slices.Contains(want.qdiscs, d.index) {
			want.qdiscs = append(want.qdiscs, d.index)
		}
	}
	slices.Sort(want.qdiscs)
	if err := commit(plan(want, devices), old); err != nil {
		return err
	}
	var failed []error
	for _, d := range devices {
		if err := holdEgress(want, d); err != nil {
			failed = append(failed, fmt.Errorf("hold the way out of %q: %w", d.name, err))
		}
	}
	if len(failed) == len(devices) {
		return errors.Join(failed...) // nil without devices
	}
	return nil
}

func hasClsact(d device) (bool, error) {
	qs, err := netlink.QdiscList(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: d.index}})
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(qs, func(q netlink.Qdisc) bool {
		return q.Attrs().Parent == netlink.HANDLE_CLSACT && q.Type() == "clsact"
	}), nil
}

func clsactQdisc(index int) *netlink.GenericQdisc {
	return &netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

func holdEgress(s spec, d device) error {
	if slices.Contains(s.qdiscs, d.index) {
		if err := netlink.QdiscAdd(clsactQdisc(d.index)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add the clsact queueing discipline: %w", err)
		}
	}
	req := filterRequest(unix.RTM_NEWTFILTER, unix.NLM_F_CREATE|unix.NLM_F_ACK, d.index)
	options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
	program := frames()
	options.AddRtAttr(bpfOpsLen, native16(uint16(len(program))))
	options.AddRtAttr(bpfOps, encodeFilter(program))
	options.AddRtAttr(bpfFlags, native32(nl.TCA_BPF_FLAG_ACT_DIRECT))
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bpf")))
	req.AddData(options)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return fmt.Errorf("add the filter: %w", err)
	}
	return nil
}

func filterRequest(kind, flags, index int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(kind, flags)
	all := uint32(unix.ETH_P_ALL)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Handle: filterHandle,
		Parent: netlink.HANDLE_MIN_EGRESS, Info: uint32(filterPriority)<<16 | all<<8})
	return req
}

func encodeFilter(program []unix.SockFilter) []byte {
	var b []byte
	for _, f := range program {
		b = binary.NativeEndian.AppendUint16(b, f.Code)
		b = append(b, f.Jt, f.Jf)
		b = binary.NativeEndian.AppendUint32(b, f.K)
	}
	return b
}

// heldEgress reports whether our filter, byte for byte, stands on a device.
func heldEgress(d device) bool {
	return slices.Contains(programs(d), string(encodeFilter(frames())))
}

// hasOurFilter reports a filter with our name on a device, whatever it does.
func hasOurFilter(d device) bool {
	return slices.ContainsFunc(programs(d), func(p string) bool { return p != "" })
}

// programs are the filters on the way out of a device; "" stands for one not ours.
func programs(d device) []string {
	req := filterRequest(unix.RTM_GETTFILTER, unix.NLM_F_DUMP, d.index)
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWTFILTER)
	if err != nil {
		return nil
	}
	var all []string
	for _, m := range messages {
		all = append(all, string(filterProgram(m)))
	}
	return all
}

// filterProgram reads the classic BPF program from a message about our filter; nil when
// it is another.
func filterProgram(m []byte) []byte {
	if len(m) < nl.SizeofTcMsg || binary.NativeEndian.Uint32(m[8:]) != filterHandle {
		return nil
	}
	var program, flags []byte
	attrs, err := mdlayher.UnmarshalAttributes(m[nl.SizeofTcMsg:])
	if err != nil {
		return nil
	}
	for _, a := range attrs {
		if a.Type&^mdlayher.Nested != nl.TCA_OPTIONS {
			continue
		}
		options, err := mdlayher.UnmarshalAttributes(a.Data)
		if err != nil {
			return nil
		}
		for _, o := range options {
			switch o.Type {
			case bpfOps:
				program = o.Data
			case bpfFlags:
				flags = o.Data
			}
		}
	}
	if len(flags) != 4 || binary.NativeEndian.Uint32(flags) != nl.TCA_BPF_FLAG_ACT_DIRECT {
		return nil
	}
	return program
}

// clsactMissing reports a device whose way out the cut should hold by traffic control
// and does not.
func clsactMissing(s spec, devices []device) bool {
	return s.egress == clsactEgress && slices.ContainsFunc(devices, func(d device) bool { return !heldEgress(d) })
}

// releaseEgress takes our filter off a device, and the queueing discipline where the
// cut made it and nobody else uses it since.
func releaseEgress(s spec, d device) error {
	req := filterRequest(unix.RTM_DELTFILTER, unix.NLM_F_ACK, d.index)
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("bpf")))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("take the filter off %q: %w", d.name, err)
	}
	if !slices.Contains(s.qdiscs, d.index) {
		return nil
	}
	link := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: d.index}}
	if !unused(link) {
		return nil
	}
	if err := netlink.QdiscDel(clsactQdisc(d.index)); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("take the queueing discipline off %q: %w", d.name, err)
	}
	return nil
}

// unused reports whether a device has no filter left; one that cannot be asked counts as in use.
func unused(link netlink.Link) bool {
	for _, parent := range []uint32{netlink.HANDLE_MIN_EGRESS, netlink.HANDLE_MIN_INGRESS} {
		if others, err := netlink.FilterList(link, parent); err != nil || len(others) > 0 {
			return false
		}
	}
	return true
}
