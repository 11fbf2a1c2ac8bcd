package worker

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent/frame"
)

// strangers is how many peers may be unproven at the same time.
const strangers = 8

var errStranger = errors.New("peer is another program")

// socketName is in the abstract namespace (unix(7)): the worker's image has no
// writable root. It is seen by everybody in the pod's network namespace.
func socketName(key ed25519.PublicKey) *net.UnixAddr {
	sum := sha256.Sum256(append([]byte("irkit-hand@v1\x00"), key...))
	return &net.UnixAddr{Name: "@irkit-" + hex.EncodeToString(sum[:16]), Net: "unix"}
}

// Listen takes the socket that belongs to the key.
func Listen(key ed25519.PublicKey) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", socketName(key))
	if err != nil {
		return nil, fmt.Errorf("listen for irkit: %w", err)
	}
	return l, nil
}

// checkPeer lets in only the worker's own program, run by its own user: the relay. A
// socket's peer is what it was when it connected (SO_PEERCRED, unix(7)); a process of
// another PID namespace has the number 0.
func checkPeer(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("check peer: %T: %w", c, errStranger)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	var cred *unix.Ucred
	var cerr error
	if err := raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	if cerr != nil {
		return fmt.Errorf("check peer: %w", cerr)
	}
	if int(cred.Uid) != os.Getuid() || cred.Pid == 0 {
		return fmt.Errorf("check peer: process %d of user %d: %w", cred.Pid, cred.Uid, errStranger)
	}
	ours, err := os.Stat("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("check peer: own program: %w", err)
	}
	theirs, err := os.Stat("/proc/" + strconv.Itoa(int(cred.Pid)) + "/exe")
	switch {
	case errors.Is(err, os.ErrPermission):
		// Without SYS_PTRACE an undumpable process of the same user is closed to us
		// (proc(5)); then the user has to do, and the key decides.
		return nil
	case err != nil:
		return fmt.Errorf("check peer: program of process %d: %w", cred.Pid, err)
	case !os.SameFile(ours, theirs):
		return fmt.Errorf("check peer: process %d: %w", cred.Pid, errStranger)
	}
	return nil
}

// door lets peers in to the server, few strangers at a time.
type door struct {
	server *frame.Server
	check  func(net.Conn) error
	log    func(string)
	slots  chan struct{}
}

func (d door) keep(ctx context.Context, l net.Listener) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return
		}
		if err != nil {
			continue
		}
		if err := d.check(c); err != nil {
			d.log(err.Error())
			_ = c.Close()
			continue
		}
		select {
		case d.slots <- struct{}{}:
		default: // enough are waiting to prove themselves
			_ = c.Close()
			continue
		}
		go func() {
			known := false
			free := func() { known = true; <-d.slots }
			defer func() {
				if !known {
					<-d.slots
				}
			}()
			_ = d.server.Serve(ctx, c, free)
		}()
	}
}
