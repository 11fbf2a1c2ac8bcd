//go:build linux

package inside

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzMemory: whatever a process's map and pagemap say, a core's plan stays in order, in
// bounds and within its budget, and a file's parts are parts of it.
func FuzzMemory(f *testing.F) {
	page := os.Getpagesize()
	words := func(n ...uint64) (b []byte) {
		for _, w := range n {
			b = binary.NativeEndian.AppendUint64(b, w)
		}
		return b
	}
	f.Add([]byte("00000000-00004000 rwxp 00000000 00:00 0 \n00004000-00006000 r-xp 00001000 fe:01 77 /a b (deleted)\n"), words(1<<63, 0, 1<<62, 0, 1<<63, 0), int64(4096))
	f.Add([]byte("0-1 \xff\xff\xff\xff 0 0:0 1 x\nffffffffff600000-ffffffffff601000 --xp 0 00:00 0 [vsyscall]\n"), []byte{1}, int64(0))
	f.Add([]byte("1000-ffffffffffffffff rwxp 0 00:00 0\n"), words(1<<63), int64(1))
	f.Fuzz(func(t *testing.T, maps, pages []byte, budget int64) {
		if budget < 0 {
			budget = 0
		}
		root := t.TempDir()
		must(t, os.Mkdir(root+"/7", 0o755))
		for name, content := range map[string][]byte{"maps": maps, "pagemap": pages, "mem": nil, "stat": maps, "cgroup": maps} {
			must(t, os.WriteFile(filepath.Join(root, "7", name), content, 0o600))
		}
		b := New(Options{ProcRoot: root, TargetPID: 7, Self: 1}).beside
		v := b.look()
		m, err := v.openMemory(7)
		must(t, err)
		defer m.Close()
		ctx, done := context.WithTimeout(t.Context(), 10*time.Second)
		defer done()
		var regions []OpenFile
		_, err = v.regions(7, func(r OpenFile) { regions = append(regions, r) })
		must(t, err)
		plan, err := v.plan(ctx, m, 7, false, uint64(budget), b.newMountTable(nil, nil))
		if err != nil {
			return // it said so
		}
		if plan.regions != len(regions) || budget > 0 && plan.stored() > uint64(budget) {
			t.Fatalf("%d regions of %d, %d bytes with a budget of %d", plan.regions, len(regions), plan.stored(), budget)
		}
		for _, s := range plan.segments {
			if s.from >= s.to || s.keep > s.to-s.from {
				t.Fatalf("segment %+v", s)
			}
		}
		for _, r := range regions {
			for _, p := range v.parts(Lost{PID: 7, Inode: r.Inode, Dev: r.Dev, target: r.target}) {
				if p.Inode != r.Inode || p.from >= p.to {
					t.Fatalf("part %+v of %+v", p, r)
				}
			}
			if r.to-r.from < uint64(page) {
				continue
			}
			if len(regions) > 8 {
				break
			}
		}
	})
}

// FuzzProcWords: the short words of /proc.
func FuzzProcWords(f *testing.F) {
	f.Add("net:[4026531840]", "net:", []byte("cpu 1\nbtime 1000000000\n"))
	f.Add("socket:[]", "socket:", []byte("btime -9223372036854775808"))
	f.Fuzz(func(t *testing.T, s, prefix string, stat []byte) {
		if n := bracketed(s, prefix); n != 0 && len(s) < len(prefix)+3 {
			t.Fatalf("%d of %q", n, s)
		}
		root := t.TempDir()
		must(t, os.WriteFile(root+"/stat", stat, 0o600))
		_ = proc{root}.boot()
		for _, name := range capabilities(s) {
			if name == "" {
				t.Fatal("a capability without a name")
			}
		}
		p := Process{exe: s, Exe: s, comm: prefix, Comm: prefix, Cmdline: arguments(stat)}
		if why, spoofed := p.doubts(nil); spoofed && len(why) == 0 {
			t.Fatal("called spoofed, and not why")
		}
	})
}
