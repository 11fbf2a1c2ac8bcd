//go:build linux

package inside

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// stat is what is read of /proc/<pid>/stat (proc_pid_stat(5)).
type stat struct {
	comm    string
	state   string
	ppid    int
	pgrp    int
	session int
	flags   uint64 // PF_*, include/linux/sched.h
	tty     int
	start   uint64 // clock ticks after boot
	threads int
}

// parseStat reads /proc/<pid>/stat. The command name may hold blanks, parentheses
// and line feeds: it ends at the last parenthesis, since no field after it has one.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("stat: no command name in parentheses")
	}
	f := bytes.Fields(b[end+1:])
	if len(f) < 20 {
		return stat{}, fmt.Errorf("stat: %d fields after the command name, want 20 or more", len(f))
	}
	s := stat{comm: string(b[open+1 : end]), state: string(f[0])}
	var err error
	num := func(i int) int {
		n, e := strconv.Atoi(string(f[i]))
		if e != nil && err == nil {
			err = fmt.Errorf("stat: field %d is no number", i+3)
		}
		return n
	}
	s.ppid, s.pgrp, s.session, s.tty, s.threads = num(1), num(2), num(3), num(4), num(17)
	s.flags, _ = strconv.ParseUint(string(f[6]), 10, 64)
	start, e := strconv.ParseUint(string(f[19]), 10, 64)
	if e != nil && err == nil {
		err = fmt.Errorf("stat: start time is no number")
	}
	s.start = start
	return s, err
}

// status is what is read of /proc/<pid>/status (proc_pid_status(5)).
type status struct {
	uids, gids, groups, nspid []int
	caps                      map[string]string
	seccomp, noNewPrivs       int
	vmRSS                     int64 // bytes
	kthread                   bool
	tracer                    int
}

// parseStatus reads the lines it knows; the kernel escapes line feeds in the name.
func parseStatus(b []byte) status {
	s := status{caps: map[string]string{}, seccomp: -1, noNewPrivs: -1}
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		switch key {
		case "Uid":
			s.uids = numbers(value)
		case "Gid":
			s.gids = numbers(value)
		case "Groups":
			s.groups = numbers(value)
		case "NSpid":
			s.nspid = numbers(value)
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
			s.caps[strings.ToLower(key[3:])] = value
		case "Seccomp":
			s.seccomp = number(value, -1)
		case "NoNewPrivs":
			s.noNewPrivs = number(value, -1)
		case "VmRSS":
			s.vmRSS = int64(number(strings.TrimSuffix(value, " kB"), 0)) << 10
		case "Kthread":
			s.kthread = value == "1"
		case "TracerPid":
			s.tracer = number(value, 0)
		}
	}
	return s
}

func numbers(s string) []int {
	var ns []int
	for f := range strings.FieldsSeq(s) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return ns
		}
		ns = append(ns, n)
	}
	return ns
}

func number(s string, or int) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		return or
	}
	return n
}

// arguments are the words of /proc/<pid>/cmdline; the last NUL ends the last one.
func arguments(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

// capabilities names the set bits of a mask (linux/capability.h); bits without a name
// are given by number.
func capabilities(mask string) []string {
	m, err := strconv.ParseUint(mask, 16, 64)
	if err != nil {
		return nil
	}
	names := []string{}
	for i := range 64 {
		if m&(1<<i) == 0 {
			continue
		}
		if i < len(capNames) {
			names = append(names, capNames[i])
		} else {
			names = append(names, strconv.Itoa(i))
		}
	}
	return names
}

var capNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}
