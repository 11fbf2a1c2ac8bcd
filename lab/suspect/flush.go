package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"syscall"
	"time"
)

// flush deletes every nftables table of its network namespace, again and again, as
// `nft flush ruleset` does: one batch of netlink messages. It takes NET_ADMIN.
func flush(ctx context.Context, _ []string) error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW, syscall.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	done := uint64(0)
	for n := uint32(1); ctx.Err() == nil; n++ {
		if err := syscall.Sendto(fd, wipe(n), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err == nil {
			done++
		}
		if n%20 == 0 {
			fmt.Println("flushed", done, time.Now().UnixMilli())
		}
		sleep(ctx, 50*time.Millisecond)
	}
	return nil
}

// wipe is the batch: begin, delete all tables of all families, end (linux/netfilter/
// nfnetlink.h, nf_tables.h).
func wipe(sequence uint32) []byte {
	const begin, end, table, nftables = 16, 17, 10<<8 | 2, 10
	message := func(kind uint16, resource uint16) []byte {
		m := make([]byte, 20)
		binary.NativeEndian.PutUint32(m, 20)
		binary.NativeEndian.PutUint16(m[4:], kind)
		binary.NativeEndian.PutUint16(m[6:], syscall.NLM_F_REQUEST)
		binary.NativeEndian.PutUint32(m[8:], sequence)
		binary.BigEndian.PutUint16(m[18:], resource)
		return m
	}
	return append(append(message(begin, nftables), message(table, 0)...), message(end, nftables)...)
}
