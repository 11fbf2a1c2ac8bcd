package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// From linux/unix_diag.h.
const (
	unixRequest  = 24
	unixMessage  = 16
	unixDiagName = 0
	unixDiagPeer = 2
	unixShow     = 1<<0 | 1<<2 // UDIAG_SHOW_NAME, UDIAG_SHOW_PEER
)

// UnixDomain reads every Unix domain socket of the namespace. Where the kernel has no
// unix_diag the names come from /proc/net/unix, in which a name with a line feed can
// forge a line.
func UnixDomain() ([]Unix, error) {
	request := make([]byte, unixRequest)
	request[0] = unix.AF_UNIX
	binary.NativeEndian.PutUint32(request[4:], ^uint32(0))
	binary.NativeEndian.PutUint32(request[12:], unixShow)
	messages, err := ask("unix", request)
	if errors.Is(err, errNotThere) {
		var all []Unix
		err := lines("unix", func(line string) {
			if u, err := parseProcUnix(line); err == nil {
				all = append(all, u)
			}
		})
		return all, err
	}
	if err != nil {
		return nil, err
	}
	all := make([]Unix, 0, len(messages))
	for _, m := range messages {
		u, err := parseUnix(m)
		if err != nil {
			return all, fmt.Errorf("read an answer of sock_diag for unix: %w", err)
		}
		all = append(all, u)
	}
	return all, nil
}

// parseUnix reads one struct unix_diag_msg and its attributes.
func parseUnix(b []byte) (Unix, error) {
	if len(b) < unixMessage {
		return Unix{}, fmt.Errorf("%d bytes, want at least %d", len(b), unixMessage)
	}
	u := Unix{Type: typeName(uint64(b[1])), State: stateName(b[2]), Inode: uint64(binary.NativeEndian.Uint32(b[4:]))}
	attributes(b[unixMessage:], func(kind uint16, v []byte) {
		switch {
		case kind == unixDiagName && len(v) > 0 && v[0] == 0:
			u.Name = "@" + string(v[1:])
		case kind == unixDiagName:
			u.Name = strings.TrimRight(string(v), "\x00")
		case kind == unixDiagPeer && len(v) >= 4:
			u.Peer = uint64(binary.NativeEndian.Uint32(v))
		}
	})
	return u, nil
}

// parseProcUnix reads one line of /proc/net/unix (proc(5)).
func parseProcUnix(line string) (Unix, error) {
	f := strings.Fields(line)
	if len(f) < 7 {
		return Unix{}, fmt.Errorf("unix socket line %q: want 7 fields, got %d", line, len(f))
	}
	flags, err1 := strconv.ParseUint(f[3], 16, 32)
	kind, err2 := strconv.ParseUint(f[4], 16, 16)
	state, err3 := strconv.ParseUint(f[5], 16, 8)
	inode, err4 := strconv.ParseUint(f[6], 10, 64)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return Unix{}, fmt.Errorf("unix socket line %q: %w", line, err)
	}
	const accepting = 1 << 16 // __SO_ACCEPTCON
	u := Unix{Type: typeName(kind), State: "CLOSE", Inode: inode}
	switch {
	case flags&accepting != 0:
		u.State = "LISTEN"
	case state == 3: // SS_CONNECTED
		u.State = "ESTABLISHED"
	}
	if at := strings.Index(line, f[6]+" "); len(f) > 7 && at >= 0 {
		u.Name = line[at+len(f[6])+1:]
	}
	return u, nil
}

func typeName(n uint64) string {
	switch n {
	case unix.SOCK_STREAM:
		return "stream"
	case unix.SOCK_DGRAM:
		return "dgram"
	case unix.SOCK_SEQPACKET:
		return "seqpacket"
	case unix.SOCK_RAW:
		return "raw"
	}
	return "unknown(" + strconv.FormatUint(n, 10) + ")"
}
