//go:build linux

package inside

import (
	"crypto/sha256"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
)

// processTraces are those that live in memory and in the kernel's tables.
func processTraces(s *scene) []trace {
	var all []trace
	add := func(what string, r role, found func(*haul) string) {
		s.roles = append(s.roles, r)
		all = append(all, trace{what, found})
	}
	miner := s.root + "/" + s.word()
	sum := copyOfUs(s.t, miner)
	add("a miner that was deleted, named like a kernel thread", role{Path: miner, Args: []string{"[kworker/u8:3]"}, Task: "wait", Vanish: true}, func(h *haul) string {
		if _, ok := h.lost[sum]; !ok {
			return "its bytes were not recovered"
		}
		return h.process(func(p Process) bool {
			return p.ExeDeleted && p.Spoofed && p.ExeSHA256 != nil && *p.ExeSHA256 == sum && !p.Memfd
		})
	})
	memfd := s.word()
	add("a program that was never on disk", role{Memfd: memfd, Args: []string{s.word()}, Task: "wait"}, func(h *haul) string {
		return h.process(func(p Process) bool { return p.Memfd && strings.Contains(p.Exe, memfd) && *p.ExeSHA256 == sum })
	})
	log := s.root + "/" + s.word()
	add("a log that was deleted and is open", role{Task: "loot " + log}, func(h *haul) string {
		loot, stash := evidence.Digest(sha256.Sum256([]byte("LOOT-CONTROL-card-numbers\n"))), evidence.Digest(sha256.Sum256([]byte("STASH-CONTROL-in-memory\n")))
		_, ok1 := h.lost[loot]
		_, ok2 := h.lost[stash]
		return when(ok1 && ok2 && slices.ContainsFunc(h.open, func(f OpenFile) bool { return f.Deleted && f.FD != nil && strings.HasPrefix(f.target+f.Target, log) }), "recovered: %v", h.lost)
	})
	all = append(all, trace{"a library that is only mapped", func(h *haul) string {
		_, ok := h.lost[sha256.Sum256(library())]
		return when(ok, "recovered: %v", h.lost)
	}}, trace{"code in anonymous memory", func(h *haul) string {
		want := evidence.Digest(sha256.Sum256(region()))
		return h.process(func(p Process) bool {
			return p.Maps != nil && slices.ContainsFunc(p.Maps.AnonExec, func(r Region) bool { return r.SHA256 != nil && *r.SHA256 == want })
		})
	}})
	name := s.word()
	add("a raw socket", role{Task: "sockets " + name}, func(h *haul) string {
		return h.socket(func(k Socket) bool { return k.Proto == "raw" && owned(k) })
	})
	all = append(all, trace{"a packet socket", func(h *haul) string {
		return h.socket(func(k Socket) bool { return k.Proto == "packet" && owned(k) })
	}}, trace{"an abstract socket", func(h *haul) string {
		return h.socket(func(k Socket) bool {
			return k.Proto == "unix" && k.Path == "@"+name && k.State == "LISTEN" && owned(k)
		})
	}})
	preload := "/" + s.word() + ".so"
	add("a program with a library forced on it", role{Task: "wait", Env: []string{"LD_PRELOAD=" + preload}}, func(h *haul) string {
		for _, e := range h.variables {
			for _, v := range e.Variables {
				if v.Name == "LD_PRELOAD" && v.Length == int64(len(preload)) && v.HMACSHA256 != "" {
					return h.process(func(p Process) bool { return slices.Contains(p.EnvNames, "LD_PRELOAD") })
				}
			}
		}
		return "its name is in no environment"
	})
	fork := s.word()
	add("a process that forks all the time", role{Task: "forks " + fork, Args: []string{fork}}, func(h *haul) string {
		return h.process(func(p Process) bool { return len(p.Cmdline) > 0 && p.Cmdline[0] == fork })
	})
	return all
}

func owned(s Socket) bool { return len(s.Owners) > 0 && s.Owners[0].PID > 0 }
