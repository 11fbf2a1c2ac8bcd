package worker

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

// Self is what a worker knows of itself from its start on.
type Self struct {
	SHA256 evidence.Digest // of its own executable
	Caps   []string        // effective
	NetNS  uint64
	Kernel string
}

// Harden makes the process closed to others of the same user: no core dump, no
// ptrace without SYS_PTRACE (prctl(2), PR_SET_DUMPABLE).
func Harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the process undumpable: %w", err)
	}
	return nil
}

// Look reads what a worker is.
func Look() (Self, error) {
	var s Self
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return s, fmt.Errorf("read own program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return s, fmt.Errorf("read own program: %w", err)
	}
	h.Sum(s.SHA256[:0])
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err == nil {
		s.NetNS = st.Ino
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		s.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return s, fmt.Errorf("read own status: %w", err)
	}
	s.Caps = capabilities(field(status, "CapEff"))
	return s, nil
}

func (w *worker) identity() agent.Identity {
	id := agent.Identity{
		Version: w.Version, Arch: runtime.GOARCH, SHA256: w.Self.SHA256, PID: os.Getpid(), UID: os.Getuid(),
		Caps: w.Self.Caps, NetNS: w.Self.NetNS, TargetPID: w.TargetPID, TargetUID: -1,
		Started: w.started, Ends: w.ends(), Kernel: w.Self.Kernel, Clock: time.Now().UTC(), Memory: map[string]uint64{},
	}
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for _, k := range []string{"VmRSS", "VmHWM"} {
			if kb, err := strconv.ParseUint(strings.TrimSuffix(field(status, k), " kB"), 10, 64); err == nil {
				id.Memory[k] = kb << 10
			}
		}
	}
	if w.TargetPID > 0 {
		if status, err := os.ReadFile("/proc/" + strconv.Itoa(w.TargetPID) + "/status"); err == nil {
			if uid, err := strconv.Atoi(first(field(status, "Uid"))); err == nil {
				id.TargetUID = uid
			}
		}
	}
	return id
}

// field is the value of one line of /proc/<pid>/status.
func field(status []byte, name string) string {
	for line := range bytes.Lines(status) {
		if v, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			return string(bytes.TrimSpace(v))
		}
	}
	return ""
}

func first(s string) string {
	f := strings.Fields(s)
	if len(f) == 0 {
		return ""
	}
	return f[0]
}

// capabilities names the bits that matter here (capabilities(7)); others stand by
// their number.
func capabilities(hex string) []string {
	bits, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		return nil
	}
	known := map[int]string{
		unix.CAP_CHOWN: "CHOWN", unix.CAP_DAC_OVERRIDE: "DAC_OVERRIDE", unix.CAP_DAC_READ_SEARCH: "DAC_READ_SEARCH",
		unix.CAP_FOWNER: "FOWNER", unix.CAP_KILL: "KILL", unix.CAP_NET_ADMIN: "NET_ADMIN", unix.CAP_NET_RAW: "NET_RAW",
		unix.CAP_SYS_ADMIN: "SYS_ADMIN", unix.CAP_SYS_CHROOT: "SYS_CHROOT", unix.CAP_SYS_PTRACE: "SYS_PTRACE",
	}
	names := []string{}
	for i := range 64 {
		if bits&(1<<i) == 0 {
			continue
		}
		if n, ok := known[i]; ok {
			names = append(names, n)
		} else {
			names = append(names, "CAP_"+strconv.Itoa(i))
		}
	}
	return names
}
