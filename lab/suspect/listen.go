package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
)

// listen echoes lines over TCP.
func listen(ctx context.Context, arguments []string) error {
	return accept(ctx, arguments[0], func(connection net.Conn) {
		echo(connection, func(string) {})
	})
}

// accept hands every connection to its own goroutine, until the context ends.
func accept(ctx context.Context, address string, serve func(net.Conn)) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go serve(connection)
	}
}

func echo(connection net.Conn, seen func(line string)) {
	defer connection.Close()
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		seen(lines.Text())
		if _, err := fmt.Fprintln(connection, lines.Text()); err != nil {
			return
		}
	}
}
