package node

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// serve answers requests one after the other, for as long as the node lives.
func (k *keeper) serve(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		k.answer(connection)
	}
}

func (k *keeper) answer(connection net.Conn) {
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	var r request
	if err := json.NewDecoder(connection).Decode(&r); err != nil {
		return // the asker went away
	}
	var err error
	switch {
	case r.Start != nil:
		err = k.start(*r.Start)
	case r.Stop != "":
		err = k.stop(r.Stop)
	}
	a := answer{Processes: k.list()}
	if err != nil {
		a.Error = err.Error()
	}
	_ = json.NewEncoder(connection).Encode(a) // the asker may have gone away
}

// listen makes the socket anew. Only root may speak to it.
func listen(path string) (net.Listener, error) {
	os.Remove(path)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot make the node's socket: %w", err)
	}
	return listener, nil
}
