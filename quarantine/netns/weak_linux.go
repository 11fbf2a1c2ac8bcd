package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent/sockets"
)

// Weak says why the target could undo or pass a cut here: a process that is not ours
// has NET_ADMIN over this network namespace or may come by it, an AF_XDP socket sends
// below both hooks, an XDP program sees frames before them, or the way out is held by
// traffic control, which a packet socket may pass. Empty: none of that was seen.
//
// targetPID is the target's first process as this process sees it; 0 where it sees
// none. Processes in our own mount namespace are ours (the hand's container), unless
// one is the target. Those whose namespaces may not be read count as sharing ours,
// unless we see the whole node's processes.
func Weak(ctx context.Context, targetPID int) ([]string, error) {
	weak, err := weakProcesses(ctx, targetPID)
	if err != nil {
		return nil, err
	}
	found, count, err := sockets.XDPSockets()
	if err != nil {
		return weak, fmt.Errorf("look for AF_XDP sockets: %w", err)
	}
	if count > 0 {
		weak = append(weak, fmt.Sprintf("AF_XDP sockets are open: %d, %d of them with a known inode; what they send passes the cut", count, len(found)))
	}
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return weak, fmt.Errorf("list network devices: %w", err)
	}
	for _, l := range links {
		if x := l.Attrs().Xdp; x != nil && x.Attached {
			weak = append(weak, fmt.Sprintf("device %q has an XDP program (id %d), which sees frames before the cut and can answer them", l.Attrs().Name, x.ProgId))
		}
	}
	return weak, nil
}

// weakProcesses names processes that hold NET_ADMIN here, or could.
func weakProcesses(ctx context.Context, targetPID int) ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	ours, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("read our network namespace: %w", err)
	}
	home, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return nil, fmt.Errorf("read our mount namespace: %w", err)
	}
	owners := owners()
	bypass, wholeNode := clsactHere(), inInitialPIDs()
	var weak []string
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return weak, fmt.Errorf("look for capabilities: %w", err)
		}
		dir := "/proc/" + e.Name()
		if mnt, err := os.Readlink(dir + "/ns/mnt"); err == nil && mnt == home && pid != targetPID {
			continue
		}
		if net, err := os.Readlink(dir + "/ns/net"); err == nil && net != ours || errors.Is(err, os.ErrNotExist) ||
			err != nil && wholeNode && pid != targetPID {
			continue
		}
		if user, err := os.Readlink(dir + "/ns/user"); err == nil && len(owners) > 0 && !slices.Contains(owners, user) {
			continue // its capabilities do not reach this namespace
		}
		status, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue // it ended
		}
		if why := parseStatus(string(status)).weak(bypass); why != "" {
			weak = append(weak, fmt.Sprintf("process %d (%s) %s", pid, plain(parseStatus(string(status)).name), why))
		}
	}
	return weak, nil
}

// owners are the user namespaces whose capabilities reach this network namespace: the
// one that owns it and those above, as far as they may be seen. Empty: not to be had,
// and every process counts.
func owners() []string {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	var all []string
	next, err := unix.IoctlRetInt(fd, unix.NS_GET_USERNS)
	unix.Close(fd)
	for err == nil {
		name, lerr := os.Readlink("/proc/thread-self/fd/" + strconv.Itoa(next))
		if lerr == nil {
			all = append(all, name)
		}
		var parent int
		parent, err = unix.IoctlRetInt(next, unix.NS_GET_PARENT)
		unix.Close(next)
		next = parent
	}
	return all
}

// clsactHere reports that some device is held by our traffic control filter.
func clsactHere() bool {
	devices, err := refuseNode(nil)
	return err == nil && slices.ContainsFunc(devices, hasOurFilter)
}

// rights are the capability sets of a process (proc_pid_status(5)).
type rights struct {
	name                           string
	effective, permitted, bounding uint64
	ambient                        uint64
	noNewPrivileges                bool
}

func parseStatus(text string) rights {
	var r rights
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		n, _ := strconv.ParseUint(value, 16, 64)
		switch key {
		case "Name":
			r.name = value
		case "CapEff":
			r.effective = n
		case "CapPrm":
			r.permitted = n
		case "CapAmb":
			r.ambient = n
		case "CapBnd":
			r.bounding = n
		case "NoNewPrivs":
			r.noNewPrivileges = value == "1"
		}
	}
	return r
}

// weak says what the rights allow; "" when nothing that matters.
func (r rights) weak(bypass bool) string {
	const admin, raw = 1 << unix.CAP_NET_ADMIN, 1 << unix.CAP_NET_RAW
	switch {
	case r.effective&admin != 0:
		return "has NET_ADMIN and can take the cut away"
	case (r.permitted|r.ambient)&admin != 0:
		return "may raise NET_ADMIN and take the cut away"
	case r.bounding&admin != 0 && !r.noNewPrivileges:
		return "could come by NET_ADMIN through a program with setuid or file capabilities"
	case bypass && r.effective&raw != 0:
		return "has NET_RAW: a packet socket with PACKET_QDISC_BYPASS passes traffic control, which holds the way out on this kernel"
	}
	return ""
}
