// Package cgroup keeps the lab in a control group of its own below every cgroup
// hierarchy of the machine. The kubelet's groups stand below it, and Cilium's
// socket programs are attached to it.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Hierarchies are the mount points of the machine's cgroup file systems.
func Hierarchies() ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(mounts)) {
		fields := strings.Fields(line)
		if len(fields) > 2 && (fields[2] == "cgroup" || fields[2] == "cgroup2") {
			found = append(found, fields[1])
		}
	}
	if len(found) == 0 {
		return nil, errors.New("no cgroup file system is mounted")
	}
	return found, nil
}

// Unified is where the lab's group stands in the cgroup2 hierarchy.
func Unified(name string) (string, error) {
	hierarchies, err := Hierarchies()
	if err != nil {
		return "", err
	}
	for _, hierarchy := range hierarchies {
		var s unix.Statfs_t
		if unix.Statfs(hierarchy, &s) == nil && s.Type == unix.CGROUP2_SUPER_MAGIC {
			return filepath.Join(hierarchy, name), nil
		}
	}
	return "", errors.New("no cgroup2 file system is mounted")
}

// leaf holds the lab's daemons. A group that others stand below may not hold
// processes itself where cgroup2 has the controllers.
const leaf = "daemons"

// Make creates the group in every hierarchy. A group that is there is kept.
func Make(name string) error {
	hierarchies, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range hierarchies {
		for _, group := range []string{name, filepath.Join(name, leaf)} {
			path := filepath.Join(hierarchy, group)
			if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("cannot make a cgroup: %w", err)
			}
			if err := inherit(filepath.Dir(path), path); err != nil {
				return err
			}
		}
	}
	return nil
}

// inherit gives a group what it must have before it takes a process in: a share
// of the parent's processors, and on a pure cgroup2 machine the controllers.
func inherit(parent, group string) error {
	for _, setting := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, setting))
		if err != nil || len(strings.TrimSpace(string(value))) == 0 {
			continue // another hierarchy
		}
		if err := os.WriteFile(filepath.Join(group, setting), value, 0); err != nil {
			return fmt.Errorf("cannot set up %s: %w", group, err)
		}
	}
	controllers, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not cgroup2
	}
	if err != nil {
		return err
	}
	for controller := range strings.FieldsSeq(string(controllers)) {
		// One by one: a controller that cannot be passed on is not needed.
		_ = os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+"+controller), 0)
	}
	return nil
}

// Confine moves a process into the group's leaf in every hierarchy.
func Confine(name string, pid int) error {
	hierarchies, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range hierarchies {
		path := filepath.Join(hierarchy, name, leaf, "cgroup.procs")
		if err := os.WriteFile(path, []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("cannot move process %d into its cgroup: %w", pid, err)
		}
	}
	return nil
}

// Remove takes the group and everything below it away, in every hierarchy. Its
// processes must have ended; the kernel may need a moment after that.
func Remove(name string) error {
	hierarchies, err := Hierarchies()
	if err != nil {
		return err
	}
	var failed []error
	for _, hierarchy := range hierarchies {
		failed = append(failed, removeTree(filepath.Join(hierarchy, name)))
	}
	return errors.Join(failed...)
}

// removeTree removes directories from the leaves up. What is in them are the
// kernel's files, which go with their directory.
func removeTree(group string) error {
	entries, err := os.ReadDir(group)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeTree(filepath.Join(group, entry.Name())); err != nil {
				return err
			}
		}
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Rmdir(group)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("cannot remove cgroup %s: %w", group, err)
		}
	}
}
