package node

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The descriptors that Boot hands to the process that calls Keep.
const (
	permission  = 3 + iota // a pipe: one byte says that our id is on record
	hostNetwork            //
	nodeNetwork            //
	worldNetwork
)

// Keep is the whole life of the node's first process. It waits until its parent
// has recorded it, and gives up when the parent died before that; then it sets up
// its mounts and serves until it is killed.
func Keep(place Places) error {
	if n, err := os.NewFile(permission, "permission").Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("not wanted any more: %w", err)
	}
	if os.Getpid() != 1 {
		return errors.New("must be the first process of a PID namespace: this verb is for the lab itself")
	}
	for fd := permission; fd <= worldNetwork; fd++ {
		unix.CloseOnExec(fd)
	}
	if err := unix.Sethostname([]byte(place.HostName)); err != nil {
		return fmt.Errorf("cannot set the host name: %w", err)
	}
	if err := place.mount(); err != nil {
		return err
	}
	listener, err := listen(place.Socket)
	if err != nil {
		return err
	}
	k := &keeper{networks: map[Network]*os.File{
		Outside: os.NewFile(hostNetwork, "host"),
		Inside:  os.NewFile(nodeNetwork, "node"),
		World:   os.NewFile(worldNetwork, "world"),
	}}
	go k.reap()
	return k.serve(listener)
}
