//go:build linux

package inside

import (
	"os"
	"path"
	"strings"
	"time"

	"irkit.dev/irkit/evidence"
)

// Process is one line of the artifact processes. Fields that could not be read are
// absent, and Unread says which and why.
type Process struct {
	Opened     string            `json:"opened"` // opening, or now
	PID        int               `json:"pid"`
	PPID       int               `json:"ppid"`
	NSPID      []int             `json:"nspid,omitempty"` // one for each PID namespace, from the reader's on
	Comm       string            `json:"comm"`
	CommB64    string            `json:"comm_b64,omitempty"`
	Cmdline    []string          `json:"cmdline"`
	CmdlineB64 string            `json:"cmdline_b64,omitempty"` // the exact bytes, where not UTF-8
	CmdlineCut bool              `json:"cmdline_cut,omitempty"` // there was more
	Exe        string            `json:"exe,omitempty"`
	ExeB64     string            `json:"exe_b64,omitempty"`
	ExeDeleted bool              `json:"exe_deleted,omitempty"`
	ExeInode   uint64            `json:"exe_inode,omitempty"`
	ExeDev     uint64            `json:"exe_dev,omitempty"`
	ExeSize    int64             `json:"exe_size,omitempty"`
	ExeSHA256  *evidence.Digest  `json:"exe_sha256,omitempty"` // of what runs, whatever its name
	Memfd      bool              `json:"memfd,omitempty"`
	Replaced   bool              `json:"replaced,omitempty"` // another file has the executable's name now
	DiskSHA256 *evidence.Digest  `json:"disk_sha256,omitempty"`
	Spoofed    bool              `json:"spoofed,omitempty"`
	Doubts     []string          `json:"doubts,omitempty"` // why the name may not be true
	UIDs       []int             `json:"uid,omitempty"`    // real, effective, saved, file system
	GIDs       []int             `json:"gid,omitempty"`
	Groups     []int             `json:"groups,omitempty"`
	Caps       map[string]string `json:"caps,omitempty"` // eff, prm, bnd, inh, amb: hexadecimal masks
	CapNames   []string          `json:"caps_eff,omitempty"`
	// CapSets names the other four, where they hold any.
	CapSets    map[string][]string `json:"caps_named,omitempty"`
	Seccomp    int                 `json:"seccomp"` // -1: not known
	NoNewPrivs int                 `json:"no_new_privs"`
	StartTicks uint64              `json:"start_ticks"` // after boot; with the pid it names one process
	Start      time.Time           `json:"start_time,omitzero"`
	State      string              `json:"state"`
	Threads    int                 `json:"threads"`
	Session    int                 `json:"session"`
	TTY        int                 `json:"tty"`
	Tracer     int                 `json:"tracer_pid,omitempty"`
	VMRSS      int64               `json:"vm_rss"`
	Cgroup     string              `json:"cgroup,omitempty"`
	Namespaces map[string]uint64   `json:"namespaces,omitempty"`
	Cwd        string              `json:"cwd,omitempty"`
	CwdB64     string              `json:"cwd_b64,omitempty"`
	Root       string              `json:"root,omitempty"`
	RootB64    string              `json:"root_b64,omitempty"`
	EnvNames   []string            `json:"env_names,omitempty"`
	FDs        *int                `json:"fds,omitempty"` // how many; the artifact open-files tells of each
	Maps       *Maps               `json:"maps,omitempty"`
	Kernel     bool                `json:"kernel_thread,omitempty"` // as the kernel itself says, since Linux 6.4
	Self       bool                `json:"self,omitempty"`          // ours
	Target     bool                `json:"target,omitempty"`        // of the target container
	Unread     []string            `json:"unread,omitempty"`

	exe, comm string // exact bytes
}

const (
	opening = "opening"
	now     = "now"
)

// process reads what a few short files say: fast enough for the opening.
// It is false when the process is gone, or not one of those that are told of.
func (v view) process(pid int, label string) (Process, bool) {
	raw, _, err := v.proc.read(8<<10, v.proc.of(pid, "stat"))
	if gone(err) {
		return Process{}, false
	}
	p := Process{Opened: label, PID: pid, Seccomp: -1, NoNewPrivs: -1, Cmdline: []string{}}
	p.missed("stat", err)
	p.Cgroup, _ = text(strings.TrimSpace(v.cgroup(pid)))
	p.Self = v.ours(pid)
	if !p.Self && !v.near(pid, p.Cgroup) {
		return Process{}, false
	}
	p.Target = !p.Self && v.own(pid, p.Cgroup)
	if err == nil {
		s, err := parseStat(raw)
		p.missed("stat", err)
		p.comm, p.State, p.PPID, p.TTY, p.Session, p.Threads = s.comm, s.state, s.ppid, s.tty, s.session, s.threads
		p.Comm, p.CommB64 = text(s.comm)
		p.StartTicks = s.start
		if !v.boot.IsZero() {
			// USER_HZ is 100 on every architecture that Kubernetes runs on.
			p.Start = v.boot.Add(time.Duration(s.start) * (time.Second / 100))
		}
	}
	if raw, _, err := v.proc.read(64<<10, v.proc.of(pid, "status")); err != nil {
		p.missed("status", err)
	} else {
		s := parseStatus(raw)
		p.UIDs, p.GIDs, p.Groups, p.NSPID, p.Caps = s.uids, s.gids, s.groups, s.nspid, s.caps
		p.Seccomp, p.NoNewPrivs, p.VMRSS, p.Tracer = s.seccomp, s.noNewPrivs, s.vmRSS, s.tracer
		p.CapNames = capabilities(s.caps["eff"])
		p.Kernel = s.kthread
	}
	limit := 128 << 10
	if label == opening {
		limit = 4 << 10
	}
	v.cmdline(&p, limit)
	v.links(&p)
	return p, true
}

func (p *Process) missed(what string, err error) {
	if err != nil && !gone(err) {
		p.Unread = append(p.Unread, what+": "+cause(err))
	}
}

// memory reads a file of /proc that waits for the process's own memory.
func (v view) memory(max int, path string) ([]byte, bool, error) {
	type piece struct {
		b    []byte
		more bool
	}
	got, err := await(v.wait, func() (piece, error) {
		b, more, err := v.proc.read(max, path)
		return piece{b, more}, err
	})
	return got.b, got.more, err
}

func (v view) cmdline(p *Process, limit int) {
	raw, more, err := v.memory(limit, v.proc.of(p.PID, "cmdline"))
	p.missed("cmdline", err)
	p.CmdlineCut = more
	lossy := false
	for _, a := range arguments(raw) {
		t, b64 := text(a)
		p.Cmdline = append(p.Cmdline, t)
		lossy = lossy || b64 != ""
	}
	if lossy {
		_, p.CmdlineB64 = text(string(raw))
	}
}

func (v view) links(p *Process) {
	var err error
	if p.exe, err = os.Readlink(v.proc.of(p.PID, "exe")); err != nil {
		p.missed("exe", err)
	}
	p.Exe, p.ExeB64 = text(p.exe)
	p.Memfd = strings.HasPrefix(p.exe, "/memfd:")
	p.ExeDeleted = strings.HasSuffix(p.exe, " (deleted)")
	if cwd, err := os.Readlink(v.proc.of(p.PID, "cwd")); err != nil {
		p.missed("cwd", err)
	} else {
		p.Cwd, p.CwdB64 = text(cwd)
	}
	if root, err := os.Readlink(v.proc.of(p.PID, "root")); err == nil {
		p.Root, p.RootB64 = text(root)
	}
}

// program is the executable's name without what the kernel adds.
func (p Process) program() string {
	return path.Base(strings.TrimSuffix(p.exe, " (deleted)"))
}
