// Package network lays the lab's cables: the node's own bridge, and a link to a
// second namespace that plays the internet.
package network

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/lab/place"
)

// Lay sets up both namespaces, which must be empty. Nothing outside of them is
// touched, and neither has a way out of the machine.
func Lay() error {
	node, closeNode, err := within(place.NodeNamespace)
	if err != nil {
		return err
	}
	defer closeNode()
	world, closeWorld, err := within(place.WorldNamespace)
	if err != nil {
		return err
	}
	defer closeWorld()

	if err := layNode(node.Handle); err != nil {
		return fmt.Errorf("cannot set up the node's network: %w", err)
	}
	if err := layWorld(node.Handle, world); err != nil {
		return fmt.Errorf("cannot set up the network beyond the node: %w", err)
	}
	return nil
}

func layNode(node *netlink.Handle) error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: place.NodeDevice}}
	if err := node.LinkAdd(bridge); err != nil {
		return err
	}
	if err := raise(node, "lo"); err != nil {
		return err
	}
	if err := raise(node, place.NodeDevice, place.NodeCIDR, place.NodeCIDR6); err != nil {
		return err
	}
	// A node has a default route; this one leads to nobody.
	return errors.Join(
		node.RouteAdd(&netlink.Route{LinkIndex: bridge.Index, Scope: unix.RT_SCOPE_LINK, Dst: everywhere(net.IPv4zero)}),
		second(func() error {
			return node.RouteAdd(&netlink.Route{LinkIndex: bridge.Index, Dst: everywhere(net.IPv6zero)})
		}))
}

func layWorld(node *netlink.Handle, world namespace) error {
	link := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: place.GatewayDevice},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(int(world.fd)),
	}
	if err := node.LinkAdd(link); err != nil {
		return err
	}
	return errors.Join(
		raise(node, place.GatewayDevice, place.GatewayCIDR, place.GatewayCIDR6),
		raise(world.Handle, "lo"),
		raise(world.Handle, "eth0", place.WorldCIDR, place.WorldCIDR6),
		world.RouteAdd(&netlink.Route{Gw: net.ParseIP(place.WorldGateway), Dst: everywhere(net.IPv4zero)}),
		second(func() error {
			return world.RouteAdd(&netlink.Route{Gw: net.ParseIP(place.WorldGateway6), Dst: everywhere(net.IPv6zero)})
		}),
	)
}

// raise sets a device up, with addresses.
func raise(handle *netlink.Handle, name string, cidrs ...string) error {
	link, err := handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	// Up first: an IPv6 address on a device that is down has no route.
	if err := handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("%s: cannot set up: %w", name, err)
	}
	for _, cidr := range cidrs {
		address, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		add := func() error { return handle.AddrAdd(link, address) }
		if address.IP.To4() == nil {
			// Nobody else is on these links: to look for a duplicate takes a second or two.
			address.Flags = unix.IFA_F_NODAD
			err = second(add)
		} else {
			err = add()
		}
		if err != nil {
			return fmt.Errorf("%s: cannot add %s: %w", name, cidr, err)
		}
	}
	return nil
}

// second does what the second family of addresses needs, where the kernel has it.
func second(do func() error) error {
	if !HasIPv6() {
		return nil
	}
	return do()
}

// HasIPv6 reports whether the kernel speaks IPv6. Without, the lab is IPv4 only.
func HasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

func everywhere(zero net.IP) *net.IPNet {
	if four := zero.To4(); four != nil {
		zero = four
	}
	return &net.IPNet{IP: zero, Mask: net.CIDRMask(0, 8*len(zero))}
}

// Remove takes the names of both namespaces away. They themselves end with their
// last process. Names that are gone already are no error.
func Remove() error {
	var failed []error
	for _, name := range []string{place.NodeNamespace, place.WorldNamespace} {
		path := Path(name)
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			continue
		}
		// An interrupted start may have left the file without its mount.
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			failed = append(failed, fmt.Errorf("cannot unmount %s: %w", path, err))
			continue
		}
		failed = append(failed, os.Remove(path))
	}
	return errors.Join(failed...)
}

// Path is where a named network namespace can be entered from the machine.
func Path(name string) string { return "/run/netns/" + name }

// namespace is a way to configure a network namespace without entering it.
type namespace struct {
	*netlink.Handle
	fd netns.NsHandle
}

func within(name string) (namespace, func(), error) {
	fd, err := netns.GetFromPath(Path(name))
	if err != nil {
		return namespace{}, nil, fmt.Errorf("no network namespace %s: %w", name, err)
	}
	handle, err := netlink.NewHandleAt(fd)
	if err != nil {
		fd.Close()
		return namespace{}, nil, fmt.Errorf("cannot reach network namespace %s: %w", name, err)
	}
	return namespace{handle, fd}, func() { handle.Close(); fd.Close() }, nil
}
