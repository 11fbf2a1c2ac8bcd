package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// mesh answers on each of the ports, over TCP and over UDP.
func mesh(ctx context.Context, arguments []string) error {
	ended := make(chan error, 1)
	for port := range strings.SplitSeq(arguments[0], ",") {
		go func() { ended <- accept(ctx, ":"+port, func(c net.Conn) { echo(c, func(string) {}) }) }()
		go func() { ended <- echoDatagrams(ctx, ":"+port) }()
	}
	return <-ended
}

func echoDatagrams(ctx context.Context, address string) error {
	socket, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { socket.Close() })
	datagram := make([]byte, 64)
	for {
		n, from, err := socket.ReadFrom(datagram)
		if err != nil {
			return err
		}
		if _, err := socket.WriteTo(datagram[:n], from); err != nil && ctx.Err() != nil {
			return err
		}
	}
}

// try reads lines "tcp ADDR:PORT" or "udp ADDR:PORT" until the input ends, tries all
// of them at once, and prints those that were answered within the time given.
func try(_ context.Context, arguments []string) error {
	limit, err := time.ParseDuration(arguments[0])
	if err != nil {
		return err
	}
	var tries sync.WaitGroup
	var printing sync.Mutex
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		line := lines.Text()
		protocol, address, _ := strings.Cut(line, " ")
		tries.Go(func() {
			if answers(protocol, address, limit) {
				printing.Lock()
				defer printing.Unlock()
				fmt.Println(line)
			}
		})
	}
	tries.Wait()
	return lines.Err()
}

// answers says whether a line comes back.
func answers(protocol, address string, limit time.Duration) bool {
	end := time.Now().Add(limit)
	connection, err := net.DialTimeout(protocol, address, limit)
	if err != nil {
		return false
	}
	defer connection.Close()
	if connection.SetDeadline(end) != nil {
		return false
	}
	if _, err := fmt.Fprintln(connection, "x"); err != nil {
		return false
	}
	back := make([]byte, 8)
	n, err := connection.Read(back)
	return err == nil && n > 0
}
