//go:build linux

package inside

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fileTraces are those that lie in the file system.
func fileTraces(s *scene, outside string) []trace {
	t, dir := s.t, "/"+s.word()
	must(t, os.Mkdir(s.root+dir, 0o755))
	var all []trace
	add := func(what string, found func(*haul) string) { all = append(all, trace{what, found}) }
	named := func(what, p string) {
		content := s.file(p)
		add(what, func(h *haul) string { return h.kept(p, content) })
	}
	of := func(what, p string, right func(Name) bool) {
		add(what, func(h *haul) string { return when(right(h.names[p]), "index: %+v", h.names[p]) })
	}
	named("a name with a newline", dir+"/"+s.word()+"\n"+s.word())
	named("a name with escape codes", dir+"/\x1b[2J\x1b]8;;x\x07"+s.word())
	named("a name that is not UTF-8", dir+"/"+s.word()+"\xff\xfe\x80")
	named("a name of 255 bytes", dir+"/"+strings.Repeat(s.word()+"-", 60)[:255])
	named("a hidden directory", dir+"/.../. /"+s.word())
	named("a bidirectional name", dir+"/"+s.word()+"\u202egpj.sh")

	deep, long := longPath(s, dir)
	add("a path of more than 4096 bytes", func(h *haul) string {
		n, ok := h.names[long]
		return when(ok && len(long) > 4096 && n.Content == stored, "%d bytes deep at %s: %+v", len(long), deep, n)
	})
	a, b := dir+"/"+s.word(), dir+"/"+s.word()
	must(t, os.Symlink(s.root+b, s.root+a))
	must(t, os.Symlink("."+a[len(dir):], s.root+b))
	of("a loop of symlinks", b, func(n Name) bool { return n.Type == "symlink" && *n.Link == "."+a[len(dir):] })
	escape := dir + "/" + s.word()
	must(t, os.Symlink(outside, s.root+escape))
	of("a link that leads out", escape, func(n Name) bool { return n.Type == "symlink" && *n.Link == outside })
	fifo, zero, disk := dir+"/"+s.word(), dir+"/"+s.word(), dir+"/"+s.word()
	must(t, unix.Mkfifo(s.root+fifo, 0o666))
	must(t, unix.Mknod(s.root+zero, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
	must(t, unix.Mknod(s.root+disk, unix.S_IFBLK|0o666, int(unix.Mkdev(7, 99))))
	of("a FIFO", fifo, func(n Name) bool { return n.Type == "fifo" && n.Content == noContent })
	of("a device without end", zero, func(n Name) bool { return n.Type == "char" && n.RDev == "1:5" })
	of("a disk's device", disk, func(n Name) bool { return n.Type == "block" && n.RDev == "7:99" })

	sparse := dir + "/" + s.word()
	f, err := os.Create(s.root + sparse)
	must(t, err)
	must(t, f.Truncate(1<<40))
	_, err = f.WriteAt([]byte("in the middle of nothing"), 1<<39)
	must(t, err)
	must(t, f.Close())
	of("a sparse file of 1 TiB", sparse, func(n Name) bool { return n.Sparse && n.Size == 1<<40 && n.Content == stored })

	many := dir + "/" + s.word()
	for i := range 1500 {
		s.file(many + "/" + strconv.Itoa(i))
	}
	add("many small files", func(h *haul) string {
		n := 0
		for p, one := range h.names {
			if strings.HasPrefix(p, many+"/") && one.Content == stored && h.bytes[p] == *one.SHA256 {
				n++
			}
		}
		return when(n == 1500, "%d of 1500", n)
	})
	ps := "/bin/" + s.word()
	write(t, s.root+ps, "#!/bin/sh\ntouch "+outside+".ran\n")
	must(t, os.Chmod(s.root+ps, 0o755))
	must(t, os.Link(s.root+ps, s.root+"/bin/ps")) // a fake one, of which another name is random
	add("a fake ps, which nobody ran", func(h *haul) string {
		_, err := os.Stat(outside + ".ran")
		return when(os.IsNotExist(err) && h.names["/bin/ps"].NLink == 2, "%v, %+v", err, h.names["/bin/ps"])
	})
	capable, setuid, noted, frozen, forged := dir+"/"+s.word(), dir+"/"+s.word(), dir+"/"+s.word(), dir+"/"+s.word(), dir+"/"+s.word()
	for _, p := range []string{capable, setuid, noted, frozen, forged} {
		s.file(p)
	}
	// struct vfs_cap_data, revision 2: CAP_SYS_ADMIN (21) permitted and effective.
	must(t, unix.Setxattr(s.root+capable, "security.capability", []byte{1, 0, 0, 2, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0))
	of("a file with capabilities", capable, func(n Name) bool { return slices.Equal(n.Caps, []string{"SYS_ADMIN"}) })
	must(t, os.Chmod(s.root+setuid, 0o755|os.ModeSetuid))
	of("a setuid file", setuid, func(n Name) bool { return n.Mode == "04755" })
	value := s.word()
	must(t, unix.Setxattr(s.root+noted, "trusted."+value, []byte(value), 0))
	of("an extended attribute", noted, func(n Name) bool { return xattr(n, "trusted."+value) == value })
	must(t, os.Chtimes(s.root+forged, time.Unix(978307200, 0), time.Unix(978307200, 0)))
	of("a forged time", forged, func(n Name) bool {
		return n.MTime.Year() == 2001 && n.BTime != nil && n.BTime.After(*n.MTime) && n.CTime.After(*n.MTime)
	})
	if freeze(s, s.root+frozen) {
		of("an immutable file", frozen, func(n Name) bool { return slices.Contains(n.Flags, "immutable") })
	}
	left, right := dir+"/"+s.word()+"/"+s.word(), dir+"/"+s.word()+"/"+s.word()
	s.file(left)
	must(t, os.MkdirAll(s.root+right[:strings.LastIndex(right, "/")], 0o755))
	must(t, os.Link(s.root+left, s.root+right))
	add("hard links across directories", func(h *haul) string {
		a, b := h.names[left], h.names[right]
		return when(a.Inode == b.Inode && a.NLink == 2 && (a.Content == hardLink) != (b.Content == hardLink) && a.HardLink+b.HardLink != "", "%+v, %+v", a, b)
	})
	return all
}

// longPath makes a directory chain with a path that no system call takes, and a file in it.
func longPath(s *scene, dir string) (first, path string) {
	s.t.Helper()
	fd, err := unix.Open(s.root+dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(s.t, err)
	path = dir
	for range 18 {
		name := strings.Repeat(s.word(), 40)[:240]
		if first == "" {
			first = name
		}
		must(s.t, unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(s.t, err)
		must(s.t, unix.Close(fd))
		fd, path = next, path+"/"+name
	}
	name := s.word()
	file, err := unix.Openat(fd, name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	must(s.t, err)
	_, err = unix.Write(file, []byte(name))
	must(s.t, err)
	must(s.t, unix.Close(file))
	must(s.t, unix.Close(fd))
	return first, path + "/" + name
}

// freeze makes a file immutable until the test ends; false where the file system cannot.
func freeze(s *scene, path string) bool {
	const immutable = 0x10 // FS_IMMUTABLE_FL, linux/fs.h
	set := func(flags int) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	if err := set(immutable); err != nil {
		s.t.Logf("no immutable file here: %v", err)
		return false
	}
	s.t.Cleanup(func() {
		if err := set(0); err != nil {
			s.t.Errorf("take the immutable flag away: %v", err)
		}
	})
	return true
}

// placeTraces lie where an intruder comes back from.
func placeTraces(s *scene) []trace {
	var all []trace
	home := "/home/" + s.word()
	for what, p := range map[string]string{
		"a cron job": "/etc/cron.d/" + s.word(), "a key that logs in": home + "/.ssh/authorized_keys", "a shell's history": home + "/.bash_history",
		"a library for every program": "/etc/ld.so.preload", "a unit of systemd": "/etc/systemd/system/" + s.word() + ".service",
	} {
		content := s.file(p)
		all = append(all, trace{what, func(h *haul) string {
			if n := h.places[p]; n.Content != stored || n.SHA256 == nil {
				return fmt.Sprintf("persistence: %+v", n)
			}
			return h.kept(p, content)
		}})
	}
	return all
}
