// Command suspect is the workload that the lab's incidents happen to. As
// `intrude` it is a web service with an intruder in it; its other verbs are the
// single pieces, and the intruder's other end.
//
// It links nothing but the standard library, runs as any user, and copes with
// whatever it may not write or do: that is logged, and the rest goes on.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: suspect VERB [ARGUMENT]...
  intrude        web service on :8080 and a whole intrusion ($C2, $DIAL, $C2_6, $DIAL_6, $HTTP)
  web ADDR       the web service alone
  listen ADDR    echo lines over TCP
  tick ADDR      hold one connection, a line every 100 ms, print each echo
  dial ADDR      a new connection every 200 ms, print whether it was answered
  c2 LOG ECHO KNOCK  the other end: echo lines, count knocks, log both with times
  mesh PORTS     answer on 1,2,3 over TCP and UDP
  try TIME       read "tcp ADDR" or "udp ADDR" lines, print those that answer
  implant        idle, under whatever name it was given
  memfd          idle, with no file behind it
  frames ADDR    datagrams over a packet socket, every 50 ms (NET_RAW)
  count ADDR     count datagrams that come, print how many
  flush          delete every nftables table, every 50 ms (NET_ADMIN)
  churn DIR N    write N small files
  hold           do nothing until told to stop
  pause          the same, and reap what is left to it`

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	if len(os.Args) < 2 {
		fail(usage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	verb, rest := os.Args[1], os.Args[2:]
	run, wants := find(verb)
	if run == nil || len(rest) != wants {
		fail(usage)
	}
	if err := run(ctx, rest); err != nil && ctx.Err() == nil {
		fail(fmt.Sprintf("suspect: %s: %v", verb, err))
	}
}

// find returns a verb's function and how many arguments it wants.
func find(verb string) (run func(context.Context, []string) error, wants int) {
	switch verb {
	case "intrude":
		return intrude, 0
	case "web":
		return web, 1
	case "listen":
		return listen, 1
	case "tick":
		return tick, 1
	case "dial":
		return dial, 1
	case "c2":
		return commandServer, 3
	case "frames":
		return frames, 1
	case "count":
		return count, 1
	case "flush":
		return flush, 0
	case "mesh":
		return mesh, 1
	case "try":
		return try, 1
	case "churn":
		return churn, 2
	case "implant", "memfd", "hold":
		return hold, 0
	case "pause":
		return pause, 0
	}
	return nil, 0
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(1)
}
