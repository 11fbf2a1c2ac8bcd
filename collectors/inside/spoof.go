//go:build linux

package inside

import (
	"fmt"
	"path"
	"strings"
)

// kernelNames begin the names of the kernel's own threads.
var kernelNames = []string{
	"kworker", "kthread", "ksoftirqd", "migration", "rcu_", "kswapd", "kcompactd", "khugepaged", "kdevtmpfs",
	"kauditd", "kblockd", "khungtaskd", "oom_reaper", "writeback", "watchdog", "kintegrityd", "jbd2/", "scsi_",
	"irq/", "cpuhp/", "idle_inject", "ksmd", "kthrotld", "netns", "md", "edac-poller", "xfsaild", "ext4-",
}

// doubts say why a process may not be what its name says, and whether that is a
// disguise: a program may show what it likes as its command line and name, and many
// do so for honest reasons, but kernel threads have no executable.
func (p Process) doubts(resolve func(path string) (identity, error)) (why []string, spoofed bool) {
	if p.exe == "" || p.Self {
		return nil, false
	}
	shown := ""
	if len(p.Cmdline) > 0 {
		shown = p.Cmdline[0]
	}
	if strings.HasPrefix(shown, "[") && strings.HasSuffix(strings.TrimSpace(p.joined()), "]") {
		why = append(why, fmt.Sprintf("command line %q looks like a kernel thread's, but %q runs", shown, p.Exe))
	}
	if strings.HasPrefix(p.Comm, "[") || strings.HasSuffix(p.Comm, "]") {
		why = append(why, fmt.Sprintf("named %q in brackets, as lists show kernel threads, but %q runs", p.Comm, p.Exe))
	}
	name := strings.Trim(shown, "[]")
	for _, k := range kernelNames {
		if k == "md" || k == "netns" { // too short to be told from programs' names
			if p.Comm == k {
				why = append(why, fmt.Sprintf("named %q like a kernel thread, but %q runs", p.Comm, p.Exe))
			}
			continue
		}
		if strings.HasPrefix(p.Comm, k) || (name == shown && strings.HasPrefix(name, k)) {
			why = append(why, fmt.Sprintf("named %q like a kernel thread, but %q runs", p.Comm, p.Exe))
			break
		}
	}
	spoofed = len(why) > 0
	if p.comm != "" && !p.explains(p.comm) {
		why = append(why, fmt.Sprintf("name %q is neither the executable's nor an argument's", p.Comm))
	}
	if path.IsAbs(shown) && p.CmdlineB64 == "" && !p.ExeDeleted && resolve != nil {
		first, _, _ := strings.Cut(shown, " ") // titles that were set hold the whole line in one
		id, err := resolve(first)
		if err != nil && first != p.exe {
			why = append(why, fmt.Sprintf("command line begins with %q, which is not there, but %q runs", first, p.Exe))
			spoofed = true
		} else if err == nil && id != (identity{p.ExeDev, p.ExeInode}) {
			why = append(why, fmt.Sprintf("command line begins with %q, but %q runs", first, p.Exe))
			spoofed = true
		}
	}
	return why, spoofed
}

func (p Process) joined() string { return strings.Join(p.Cmdline, " ") }

// explains tells whether the 15 bytes that the kernel keeps of a name come from the
// executable or from one of the first arguments (a script's name, a symlink's).
func (p Process) explains(comm string) bool {
	short := func(s string) string { return s[:min(len(s), 15)] }
	if p.Memfd {
		// A program run from a descriptor is named by the descriptor's number.
		return strings.HasPrefix(p.exe, "/memfd:"+comm) || strings.Trim(comm, "0123456789") == ""
	}
	if short(p.program()) == comm {
		return true
	}
	for i, a := range p.Cmdline {
		if i == 4 {
			break
		}
		a = strings.TrimPrefix(a, "-") // a login shell
		first, _, _ := strings.Cut(a, " ")
		if short(path.Base(a)) == comm || short(strings.TrimSuffix(path.Base(first), ":")) == comm {
			return true
		}
	}
	return false
}
