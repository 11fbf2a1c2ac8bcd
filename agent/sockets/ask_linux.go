package sockets

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// tries is how often a dump is asked for again that the kernel says was interrupted
// by a change; after that the last answer counts, since a table of a busy host is
// never still.
const tries = 3

// errNotThere says that the kernel has no sock_diag for this kind of socket.
var errNotThere = errors.New("the kernel does not answer sock_diag for it")

// ask sends one SOCK_DIAG_BY_FAMILY request (sock_diag(7)) and returns the payloads.
func ask(what string, request []byte) ([][]byte, error) {
	var answer [][]byte
	var err error
	for range tries {
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		req.AddRawData(request)
		answer, err = req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
		if !errors.Is(err, nl.ErrDumpInterrupted) {
			break
		}
	}
	switch {
	case errors.Is(err, nl.ErrDumpInterrupted):
		return answer, nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EPROTONOSUPPORT),
		errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return nil, fmt.Errorf("sock_diag of %s sockets: %w: %w", what, errNotThere, err)
	case err != nil:
		return nil, fmt.Errorf("sock_diag of %s sockets: %w", what, err)
	}
	return answer, nil
}

// attributes walks netlink attributes. What does not fit its own length ends the
// walk: the rest is not guessed at.
func attributes(b []byte, each func(kind uint16, value []byte)) {
	const header = 4
	for len(b) >= header {
		size := int(binary.NativeEndian.Uint16(b))
		if size < header || size > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[header:size])
		aligned := (size + header - 1) &^ (header - 1)
		if aligned > len(b) {
			return
		}
		b = b[aligned:]
	}
}
