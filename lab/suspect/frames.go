package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

// frames sends a UDP datagram with its own Ethernet header over a packet socket, every 50
// ms: what passes filters that stand in the IP layer alone. It takes NET_RAW. The
// destination is ADDR; the next hop's address is learnt from the kernel's own table.
func frames(ctx context.Context, arguments []string) error {
	to, err := netip.ParseAddrPort(arguments[0])
	if err != nil {
		return err
	}
	device, hop, err := nextHop(ctx, to)
	if err != nil {
		return err
	}
	from, err := source(device)
	if err != nil {
		return err
	}
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, int(swap(syscall.ETH_P_IP)))
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer syscall.Close(fd)
	at := &syscall.SockaddrLinklayer{Protocol: swap(syscall.ETH_P_IP), Ifindex: device.Index, Halen: 6}
	copy(at.Addr[:], hop)
	for n := 0; ctx.Err() == nil; n++ {
		if err := syscall.Sendto(fd, datagram(device.HardwareAddr, hop, from, to, fmt.Sprintf("frame %d", n)), 0, at); err != nil {
			log.Printf("send frame: %v", err)
		}
		sleep(ctx, 50*time.Millisecond)
	}
	return nil
}

func swap(n uint16) uint16 { return n<<8 | n>>8 }

// nextHop is the device of the default route, and its router's link address: the kernel
// resolves it when something is sent.
func nextHop(ctx context.Context, to netip.AddrPort) (*net.Interface, net.HardwareAddr, error) {
	for ctx.Err() == nil {
		if c, err := net.Dial("udp", to.String()); err == nil {
			_, _ = c.Write([]byte("hello"))
			c.Close()
		}
		table, err := os.ReadFile("/proc/net/arp")
		if err != nil {
			return nil, nil, err
		}
		for _, line := range strings.Split(string(table), "\n")[1:] {
			f := strings.Fields(line)
			if len(f) < 6 || f[3] == "00:00:00:00:00:00" {
				continue
			}
			mac, err := net.ParseMAC(f[3])
			if err != nil {
				continue
			}
			device, err := net.InterfaceByName(f[5])
			return device, mac, err
		}
		sleep(ctx, 200*time.Millisecond)
	}
	return nil, nil, ctx.Err()
}

func source(device *net.Interface) (netip.Addr, error) {
	all, err := device.Addrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			from, _ := netip.AddrFromSlice(n.IP.To4())
			return from, nil
		}
	}
	return netip.Addr{}, errors.New("no IPv4 address on " + device.Name)
}

// datagram is a whole frame: Ethernet, IPv4 and UDP headers (RFC 791, RFC 768; no checksum
// over UDP), and the text.
func datagram(our, theirs net.HardwareAddr, from netip.Addr, to netip.AddrPort, text string) []byte {
	frame := append(append(append([]byte{}, theirs...), our...), 0x08, 0x00)
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(text)))
	copy(ip[12:], from.AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum))
	udp := make([]byte, 8)
	binary.BigEndian.PutUint16(udp, 40000)
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(text)))
	return append(append(append(frame, ip...), udp...), text...)
}

// count prints, every 200 ms, how many UDP datagrams came to ADDR so far, and the time of
// the last.
func count(ctx context.Context, arguments []string) error {
	c, err := net.ListenPacket("udp", arguments[0])
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	n, last, said := 0, int64(0), time.Now()
	for b := make([]byte, 2048); ; {
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if _, _, err := c.ReadFrom(b); err == nil {
			n++
			last = time.Now().UnixMilli()
		} else if ctx.Err() != nil {
			return err
		}
		if time.Since(said) >= 200*time.Millisecond {
			said = time.Now()
			fmt.Println("count", n, last, said.UnixMilli())
		}
	}
}
