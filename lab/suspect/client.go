package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"time"
)

// remainConnected holds the connection that commands would come through, and
// makes it again one second after it broke, for ever.
func remainConnected(ctx context.Context, address string) {
	for ctx.Err() == nil {
		err := stream(ctx, address, func(string) {})
		log.Printf("command connection to %s: %v", address, err)
		sleep(ctx, time.Second)
	}
}

// tick holds one connection and prints the time of each echoed line.
func tick(ctx context.Context, arguments []string) error {
	return stream(ctx, arguments[0], func(line string) {
		fmt.Println("echo", line, time.Now().UnixMilli())
	})
}

// stream sends a line every 100 ms and hands over each one that comes back. It
// returns when the connection breaks or the context ends.
func stream(ctx context.Context, address string, echoed func(line string)) error {
	dialer := net.Dialer{Timeout: 2 * time.Second}
	connection, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	stop := context.AfterFunc(ctx, func() { connection.Close() })
	defer stop()

	host, _ := os.Hostname()
	go func() {
		for n := 0; ; n++ {
			if _, err := fmt.Fprintf(connection, "beat %d from %s at %d\n", n, host, time.Now().UnixMilli()); err != nil {
				connection.Close()
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	lines := bufio.NewScanner(connection)
	for lines.Scan() {
		echoed(lines.Text())
	}
	return lines.Err()
}

// dial prints, for a new connection every 200 ms, when it was tried and whether
// it was answered.
func dial(ctx context.Context, arguments []string) error {
	knock(ctx, arguments[0], func(began time.Time, err error) {
		fmt.Println(began.UnixMilli(), err == nil)
	})
	return nil
}

// knock makes a new connection every 200 ms and closes it. A try that is not
// answered ends after 500 ms, and never delays the next one.
func knock(ctx context.Context, address string, tried func(time.Time, error)) {
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for {
		go func() {
			began := time.Now()
			connection, err := net.DialTimeout("tcp", address, 500*time.Millisecond)
			if err == nil {
				connection.Close()
			}
			if tried != nil {
				tried(began, err)
			}
		}()
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
