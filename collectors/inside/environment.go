//go:build linux

package inside

import (
	"context"
	"errors"
	"io"
	"os"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
	"irkit.dev/irkit/evidence"
)

// Environment is one line of the artifact environment: the variables of one process.
// Those of more than 512 go on in further lines, numbered by Part.
type Environment struct {
	PID        int        `json:"pid"`
	StartTicks uint64     `json:"start_ticks"`
	Comm       string     `json:"comm"`
	Part       int        `json:"part"` // from 1
	More       bool       `json:"more,omitempty"`
	Bytes      int64      `json:"bytes"` // read so far
	Variables  []Variable `json:"variables"`
	Unread     string     `json:"unread,omitempty"` // why the rest, or all, is missing
}

// maxEnviron bounds one block: execve takes 6 MiB at most, but a process may name any
// part of its memory its environment.
const maxEnviron = 16 << 20

var errTooLong = errors.New("block is longer than 16 MiB")

// environment tells names, lengths and keyed digests of the variables of the target's
// processes, and values only when they were asked for.
func (b beside) environment(ctx context.Context, q agent.Request, emit Emit) error {
	h := b.header("environment", "jsonl", jsonLines, collectors.RankProcess, evidence.Internal)
	if q.Values {
		h.Class = evidence.Restricted
	} else {
		h.Filter = map[string][]string{"values": {"left out: names, lengths and keyed digests stand for them"}}
	}
	return b.each(ctx, h, q, emit, func(o *out, v view, pid int) (bool, error) {
		e := Environment{PID: pid, Part: 1, Variables: []Variable{}}
		if raw, _, err := v.proc.read(8<<10, v.proc.of(pid, "stat")); err == nil {
			if s, err := parseStat(raw); err == nil {
				e.StartTicks = s.start
				e.Comm, _ = text(s.comm)
			}
		}
		f, err := v.environ(pid)
		if err == nil {
			defer f.Close()
			limited := &io.LimitedReader{R: &timed{p: v.wait, r: f}, N: maxEnviron}
			var fatal error
			e.Bytes, err = environ(&patient{ctx, limited}, q.HMACKey, q.Values, func(x Variable) error {
				e.Variables = append(e.Variables, x)
				if len(e.Variables) < 512 && !(q.Values && len(x.Value) > 64<<10) {
					return nil
				}
				e.More = true
				fatal = o.line(e)
				e.Part, e.Variables, e.More = e.Part+1, []Variable{}, false
				return fatal
			})
			if fatal != nil {
				return true, fatal
			}
			if err == nil && limited.N == 0 {
				err = errTooLong
			}
		}
		if ctx.Err() != nil {
			return true, ctx.Err()
		}
		if gone(err) {
			return false, nil
		}
		if err != nil {
			e.Unread = cause(err)
			return errors.Is(err, errTooLong), o.line(e)
		}
		return true, o.line(e)
	})
}

// each runs read for every process of the target in turn. Read says whether it could
// read that one; when none could be, the artifact says that it was impossible.
func (b beside) each(ctx context.Context, h agent.Header, q agent.Request, emit Emit, read func(*out, view, int) (bool, error)) error {
	v := b.look()
	pids, err := b.proc.pids()
	if err != nil {
		return absent(h, evidence.Impossible, emit, "list processes: %s", cause(err))
	}
	own := pids[:0]
	var first error
	allowed := false
	for _, pid := range pids {
		if v.ours(pid) || !v.own(pid, b.cgroup(pid)) {
			continue
		}
		own = append(own, pid)
		// One answer decides for all: without ptrace access the kernel hides these files.
		if !allowed {
			d, err := v.environ(pid)
			if err == nil {
				_ = d.Close()
				allowed = true
			} else if errors.Is(err, errStuck) {
				allowed = true // of this one nothing is known
			} else if first == nil && !gone(err) {
				first = err
			}
		}
	}
	if len(own) == 0 {
		return absent(h, evidence.Impossible, emit, "no process of the target is here any more")
	}
	if !allowed && first != nil {
		return absent(h, evidence.Impossible, emit, "none of %d processes may be read: %s", len(own), cause(first))
	}
	return stream(ctx, h, q.MaxBytes, emit, func(o *out) error {
		failed := 0
		for _, pid := range own {
			if err := ctx.Err(); err != nil {
				return err
			}
			ok, err := read(o, v, pid)
			if err != nil {
				return err
			}
			if !ok {
				failed++
			}
		}
		if failed > 0 {
			o.note("%d of %d processes ended first or may not be read", failed, len(own))
		}
		return nil
	})
}

func (v view) environ(pid int) (*os.File, error) {
	return await(v.wait, func() (*os.File, error) { return os.Open(v.proc.of(pid, "environ")) })
}

// envNames are the first names of a process's environment, for its line in processes.
func (v view) envNames(pid int) []string {
	f, err := v.environ(pid)
	if err != nil {
		return nil
	}
	defer f.Close()
	names := []string{}
	_, _ = environ(io.LimitReader(&timed{p: v.wait, r: f}, 256<<10), nil, false, func(x Variable) error {
		if x.NoName {
			return nil
		}
		if names = append(names, x.Name); len(names) == 512 {
			return io.EOF
		}
		return nil
	})
	return names
}
