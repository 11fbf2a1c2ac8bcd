package netns

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"syscall"
)

// headerLen is the length of a DNS header (RFC 1035 section 4.1.1).
const headerLen = 12

// dnsQuestion asks for the address of kubernetes.default.svc, with an identifier of its
// own.
func dnsQuestion() ([]byte, error) {
	id := make([]byte, 2)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("choose a DNS identifier: %w", err)
	}
	q := append(id, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0) // recursion desired, one question
	for _, label := range []string{"kubernetes", "default", "svc"} {
		q = append(append(q, byte(len(label))), label...)
	}
	return append(q, 0, 0, 1, 0, 1), nil // the root, type A, class IN
}

// dnsAnswers reports a well-formed reply to the question: its identifier, the bit of a
// response to a standard query, and the same question or, as some refusals have it, none.
func dnsAnswers(question, reply []byte) bool {
	if len(reply) < headerLen || !bytes.Equal(reply[:2], question[:2]) || reply[2]&0xf8 != 0x80 {
		return false
	}
	switch asked := question[headerLen:]; binary.BigEndian.Uint16(reply[4:]) {
	case 0:
		return len(reply) == headerLen
	case 1:
		return len(reply) >= len(question) && bytes.EqualFold(reply[headerLen:headerLen+len(asked)], asked)
	}
	return false
}

// extendedError reads struct sock_extended_err (linux/errqueue.h).
func extendedError(b []byte) (errno syscall.Errno, origin byte, ok bool) {
	if len(b) < 16 {
		return 0, 0, false
	}
	return syscall.Errno(binary.NativeEndian.Uint32(b)), b[4], true
}
