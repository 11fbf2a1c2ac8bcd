package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"sync"
	"time"
)

// A sighting is one line of the command server's log: the clock, outside of the
// cluster, by which a containment is measured.
type sighting struct {
	Time  int64  `json:"ms"`    // Unix milliseconds
	Event string `json:"event"` // accept, line, close
	Port  string `json:"port"`
	Peer  string `json:"peer"`
	Line  string `json:"line,omitempty"`
}

// journal appends sightings to a file, each in one write.
type journal struct {
	mu   sync.Mutex
	file *os.File
}

func (j *journal) note(event, port string, connection net.Conn, line string) {
	text, _ := json.Marshal(sighting{time.Now().UnixMilli(), event, port, connection.RemoteAddr().String(), line})
	j.mu.Lock()
	defer j.mu.Unlock()
	_, _ = j.file.Write(append(text, '\n')) // a full disk must not stop the echo
}

// commandServer echoes lines on one address and accepts connections on another,
// and logs both to a file.
func commandServer(ctx context.Context, arguments []string) error {
	file, err := os.OpenFile(arguments[0], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	log := &journal{file: file}

	ended := make(chan error, 2)
	go func() { ended <- serveEcho(ctx, arguments[1], log) }()
	go func() { ended <- serveKnocks(ctx, arguments[2], log) }()
	return <-ended
}

func serveEcho(ctx context.Context, address string, log *journal) error {
	_, port, _ := net.SplitHostPort(address)
	return accept(ctx, address, func(connection net.Conn) {
		log.note("accept", port, connection, "")
		echo(connection, func(line string) { log.note("line", port, connection, line) })
		log.note("close", port, connection, "")
	})
}

func serveKnocks(ctx context.Context, address string, log *journal) error {
	_, port, _ := net.SplitHostPort(address)
	return accept(ctx, address, func(connection net.Conn) {
		defer connection.Close()
		log.note("accept", port, connection, "")
	})
}
