//go:build linux

package inside

import (
	"context"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/collectors"
)

// places are where an intruder writes to come back (MITRE ATT&CK TA0003, Linux), and
// what changes who may log in. A path that is not there costs nothing.
var places = []string{
	"/etc/crontab", "/etc/anacrontab", "/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly",
	"/etc/cron.monthly", "/var/spool/cron", "/var/spool/at", "/etc/periodic",
	"/etc/profile", "/etc/profile.d", "/etc/bash.bashrc", "/etc/bashrc", "/etc/zsh", "/etc/zshrc", "/etc/zprofile",
	"/etc/environment", "/etc/fish", "/etc/inputrc", "/etc/skel",
	"/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
	"/etc/rc.local", "/etc/rc.d", "/etc/init.d", "/etc/inittab", "/etc/init", "/etc/local.d", "/etc/runlevels",
	"/etc/systemd", "/run/systemd/system", "/usr/local/lib/systemd", "/etc/sv", "/etc/s6", "/etc/services.d", "/etc/cont-init.d", "/docker-entrypoint.d",
	"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/sudoers", "/etc/sudoers.d", "/etc/doas.conf", "/etc/pam.d", "/etc/security",
	"/etc/ssh", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/xinetd.d", "/etc/inetd.conf",
	"/etc/apt/apt.conf.d", "/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/yum.repos.d", "/etc/apk/repositories",
	"/etc/update-motd.d", "/etc/modules", "/etc/modules-load.d", "/etc/modprobe.d", "/etc/udev/rules.d", "/etc/xdg/autostart",
	"/etc/logrotate.d", "/etc/supervisor", "/etc/supervisord.conf",
}

// homes hold these names.
var homePlaces = []string{
	".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile", ".zshrc", ".zshenv", ".zprofile",
	".zlogin", ".zlogout", ".kshrc", ".cshrc", ".tcshrc", ".inputrc", ".xprofile", ".pam_environment", ".rhosts", ".forward",
	".bash_history", ".zsh_history", ".ash_history", ".sh_history", ".history", ".python_history", ".node_repl_history",
	".mysql_history", ".psql_history", ".rediscli_history", ".sqlite_history", ".lesshst", ".viminfo", ".wget-hsts", ".vimrc", ".gitconfig",
	".ssh", ".config/autostart", ".config/systemd/user", ".config/fish", ".local/share/fish/fish_history", ".local/share/systemd/user",
}

// webRoots and scratch places are listed, not stored: the whole file system has them.
var listedPlaces = []string{
	"/var/www", "/srv", "/usr/share/nginx/html", "/usr/local/apache2/htdocs", "/usr/local/tomcat/webapps", "/opt/tomcat/webapps",
	"/tmp", "/var/tmp", "/dev/shm", "/run/lock",
}

// persistence gives the known places of a file system first, as a tar and an index.
func (b beside) persistence(ctx context.Context, q agent.Request, emit Emit) error {
	return b.pairs(ctx, q, emit, "persistence", collectors.RankPlaces, func(w *walk) error {
		p := &visit{w: w, seen: map[string]bool{}}
		for _, at := range places {
			if err := p.at(at); err != nil {
				return err
			}
		}
		for _, home := range w.homes(b.newMountTable(w.t, q.SkipMounts)) {
			for _, name := range homePlaces {
				if err := p.at(path.Join(home, name)); err != nil {
					return err
				}
			}
		}
		w.listed = true
		for _, at := range listedPlaces {
			if err := p.at(at); err != nil {
				return err
			}
		}
		return nil
	})
}

// visit goes to places, each once whatever ways lead to it.
type visit struct {
	w    *walk
	seen map[string]bool
}

// at files what is at a path, under the path that it has without links; a link itself
// is filed too, so that one sees where the path led.
func (v *visit) at(p string) error {
	for _, last := range []bool{false, true} {
		handle, real, err := v.w.t.resolve(p, last)
		if err != nil {
			continue
		}
		err = v.enter(real, handle)
		unix.Close(handle)
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *visit) enter(real string, handle int) error {
	for above := real; above != "/"; above = path.Dir(above) {
		if v.seen[above] {
			return nil
		}
	}
	if real == "/" {
		return nil // a place that leads to the root is no place
	}
	v.seen[real] = true
	return v.w.enter(real, handle, place{mount: v.w.mounts.base})
}

// homes are the home directories that the target's /etc/passwd names, and those that
// are there.
func (w *walk) homes(mounts *mountTable) []string {
	homes := []string{"/root"}
	seen := map[string]bool{"/root": true, "/": true, "": true, "/nonexistent": true}
	add := func(h string) {
		if h = path.Clean("/" + h); !seen[h] && len(homes) < 512 {
			seen[h] = true
			homes = append(homes, h)
		}
	}
	passwd, err := w.t.read("/etc/passwd", 1<<20, mounts)
	if err != nil {
		w.a.o.note("/etc/passwd: %s", cause(err))
	}
	for line := range strings.Lines(passwd) {
		if f := strings.Split(strings.TrimSuffix(line, "\n"), ":"); len(f) >= 6 {
			add(f[5])
		}
	}
	for _, name := range w.t.list("/home", 512) {
		add("/home/" + name)
	}
	// A home of "/" has its files in the root itself.
	return append(homes, "/")
}
