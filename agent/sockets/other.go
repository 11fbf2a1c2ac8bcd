//go:build !linux

package sockets

// TCP is not to be had on this system.
func TCP() ([]Socket, error) { return nil, ErrUnsupported }

// UDP is not to be had on this system.
func UDP() ([]Socket, error) { return nil, ErrUnsupported }

// Raw is not to be had on this system.
func Raw() ([]Socket, error) { return nil, ErrUnsupported }

// UDPLite is not to be had on this system.
func UDPLite() ([]Socket, error) { return nil, ErrUnsupported }

// SCTP is not to be had on this system.
func SCTP() ([]Socket, error) { return nil, ErrUnsupported }

// Ping is not to be had on this system.
func Ping() ([]Socket, error) { return nil, ErrUnsupported }

// VMSockets is not to be had on this system.
func VMSockets() ([]VM, error) { return nil, ErrUnsupported }

// NetlinkSockets is not to be had on this system.
func NetlinkSockets() ([]Netlink, error) { return nil, ErrUnsupported }

// UnixDomain is not to be had on this system.
func UnixDomain() ([]Unix, error) { return nil, ErrUnsupported }

// PacketSockets is not to be had on this system.
func PacketSockets() ([]Packet, error) { return nil, ErrUnsupported }

// XDPSockets is not to be had on this system.
func XDPSockets() ([]XDP, int, error) { return nil, 0, ErrUnsupported }
