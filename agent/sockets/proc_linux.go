package sockets

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// tables are the socket tables of the calling thread's namespace: /proc/net is that of
// the main thread.
const tables = "/proc/thread-self/net/"

// longest is the longest line that is read; /proc/net/unix holds names of 108 bytes.
const longest = 4096

// procInet reads /proc/net/{tcp,udp,raw}{,6}. A table that the kernel does not have,
// as without IPv6, is empty.
func procInet(proto string, family byte) ([]Socket, error) {
	name := proto
	if family == unix.AF_INET6 {
		name += "6"
	}
	var all []Socket
	err := lines(name, func(line string) {
		if s, err := parseProcInet(proto, line); err == nil {
			all = append(all, s)
		}
	})
	return all, err
}

// lines calls each for every line but the heading.
func lines(table string, each func(string)) error {
	f, err := os.Open(tables + table)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read socket table: %w", err)
	}
	defer f.Close()
	if err := scan(f, each); err != nil {
		return fmt.Errorf("read socket table %s: %w", f.Name(), err)
	}
	return nil
}

func scan(r io.Reader, each func(string)) error {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, longest), longest)
	for first := true; in.Scan(); first = false {
		if !first {
			each(in.Text())
		}
	}
	return in.Err()
}

// parseProcInet reads one line of proc_net_tcp (proc(5)).
func parseProcInet(proto, line string) (Socket, error) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return Socket{}, fmt.Errorf("socket line %q: want 10 fields, got %d", line, len(f))
	}
	local, family, err1 := procEndpoint(f[1])
	remote, _, err2 := procEndpoint(f[2])
	state, err3 := strconv.ParseUint(f[3], 16, 8)
	sent, received, _ := strings.Cut(f[4], ":")
	send, err4 := strconv.ParseUint(sent, 16, 32)
	recv, err5 := strconv.ParseUint(received, 16, 32)
	uid, err6 := strconv.ParseUint(f[7], 10, 32)
	inode, err7 := strconv.ParseUint(f[9], 10, 64)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		return Socket{}, fmt.Errorf("socket line %q: %w", line, err)
	}
	return Socket{Proto: proto, Family: family, State: stateName(byte(state)), Local: local, Remote: remote,
		SendQ: uint32(send), RecvQ: uint32(recv), UID: uint32(uid), Inode: inode}, nil
}

// procEndpoint reads "0100007F:1F90": words of the address in the host's byte order.
func procEndpoint(s string) (netip.AddrPort, int, error) {
	words, port, ok := strings.Cut(s, ":")
	if !ok || len(words) != 8 && len(words) != 32 {
		return netip.AddrPort{}, 0, fmt.Errorf("address %q", s)
	}
	raw, err := hex.DecodeString(words)
	if err != nil {
		return netip.AddrPort{}, 0, err
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, 0, err
	}
	addr := make([]byte, len(raw))
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(addr[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	family := 4
	if len(addr) == 16 {
		family = 6
	}
	return endpoint(addr, uint16(n)), family, nil
}
