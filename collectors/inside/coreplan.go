//go:build linux

package inside

import (
	"context"
	"debug/elf"
	"fmt"
	"slices"
	"strings"
)

// segment is one stretch of a process's memory, as a core will have it.
type segment struct {
	from, to uint64
	flags    elf.ProgFlag
	weight   int    // what a budget takes first: less is more
	keep     uint64 // bytes from the start that are stored
	offset   uint64 // where, in the core
}

// mapped is a file's range in memory, for the note NT_FILE.
type mapped struct {
	from, to, offset uint64
	name             string
}

// corePlan is what a core of one process will hold, before its memory is read.
type corePlan struct {
	segments []segment
	files    []mapped
	regions  int
	left     uint64 // bytes that a budget leaves out
	secret   uint64 // bytes of volumes that stay out
	notes    []string
}

const (
	maxRuns     = 256     // stretches of one region, before they count as one
	maxSegments = 60_000  // of one core: e_phnum has 16 bits
	maxFiles    = 4 << 20 // bytes of their names
	maxLooked   = 4 << 40 // bytes of address space; a quarter of it in one region
)

// plan looks which pages of a process there are; nothing of them is read. Only executable
// memory without a file counts when codeOnly is set. A budget of 0 is none.
func (v view) plan(ctx context.Context, m *memory, pid int, codeOnly bool, budget uint64, mounts *mountTable) (*corePlan, error) {
	p := &corePlan{}
	names := 0
	var all []piece
	more, err := v.regions(pid, func(r OpenFile) {
		if codeOnly && (!strings.Contains(r.Perms, "x") || !r.anonymous()) {
			return
		}
		p.regions++
		if r.Inode != 0 && names < maxFiles {
			names += len(r.target) + 25
			p.files = append(p.files, mapped{r.from, r.to, r.offset, strings.Clone(r.target)})
		}
		switch r.target {
		case "[vvar]", "[vvar_vclock]", "[vsyscall]":
			return // the kernel's own, the same everywhere or not to be read
		}
		if r.Inode != 0 && mounts.leftDevice(r.Dev) != "" {
			p.secret += r.to - r.from
			return
		}
		all = append(all, pieceOf(r))
	})
	if err != nil {
		return nil, fmt.Errorf("read the map of process %d: %w", pid, err)
	}
	if more {
		p.notes = append(p.notes, "the process has more regions than were looked at")
	}
	looked, vast := uint64(0), uint64(0)
	for _, r := range all {
		// Reservations of many terabytes are honest in some programs, and would be a way to
		// keep us busy in others: eight bytes are read for each of their pages.
		if size := r.to - r.from; size > maxLooked/4 || looked+size > maxLooked {
			vast += size
			continue
		}
		looked += r.to - r.from
		if err := p.add(ctx, m, r); err != nil {
			return nil, err
		}
		if len(p.segments) >= maxSegments {
			p.notes = append(p.notes, fmt.Sprintf("more than %d stretches of memory: the rest is left out", maxSegments))
			break
		}
	}
	if vast > 0 {
		p.notes = append(p.notes, fmt.Sprintf("not looked through, and left out: %d GiB of address space in vast regions", vast>>30))
	}
	p.spend(budget)
	return p, nil
}

// piece is a region, as little of it as can be: a process may have tens of thousands.
type piece struct {
	from, to uint64
	flags    elf.ProgFlag
	weight   int
}

func pieceOf(r OpenFile) piece {
	p := piece{from: r.from, to: r.to, weight: weight(r)}
	for i, f := range []elf.ProgFlag{elf.PF_R, elf.PF_W, elf.PF_X} {
		if r.Perms[i] != '-' {
			p.flags |= f
		}
	}
	return p
}

// add appends the used stretches of one region.
func (p *corePlan) add(ctx context.Context, m *memory, r piece) error {
	var runs []run
	one := p.crowded() // the region is one stretch
	known, err := m.present(ctx, r.from, r.to, func(u run) error {
		if len(runs) > 0 && (one || len(runs) == maxRuns) {
			one, runs = true, []run{{runs[0].from, u.to}}
		} else {
			runs = append(runs, u)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !known {
		runs = []run{{r.from, r.to}}
	}
	for _, u := range runs {
		p.segments = append(p.segments, segment{from: u.from, to: u.to, flags: r.flags, weight: r.weight})
	}
	return nil
}

// crowded says that there are so many stretches that each region gets one.
func (p *corePlan) crowded() bool { return len(p.segments) > maxSegments/2 }

// weight orders regions by what a budget is spent on first: code without a file, then
// what the process wrote, then the rest.
func weight(r OpenFile) int {
	write := strings.Contains(r.Perms, "w")
	switch {
	case strings.Contains(r.Perms, "x") && r.anonymous():
		return 0
	case r.target == "[stack]":
		return 1
	case r.Inode == 0:
		return 2
	case r.Deleted || r.Memfd:
		return 3
	case write:
		return 4
	}
	return 5
}

// spend gives each segment its bytes, as far as the budget goes.
func (p *corePlan) spend(budget uint64) {
	order := make([]int, len(p.segments))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return p.segments[a].weight - p.segments[b].weight })
	left := budget
	for _, i := range order {
		s := &p.segments[i]
		s.keep = s.to - s.from
		if budget == 0 {
			continue
		}
		s.keep = min(s.keep, left)
		left -= s.keep
		p.left += s.to - s.from - s.keep
	}
}

// stored is how many bytes of memory the core will have.
func (p *corePlan) stored() (n uint64) {
	for _, s := range p.segments {
		n += s.keep
	}
	return n
}
