package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Record identifies the node's first process beyond doubt: an id alone may have
// passed to another process since.
type Record struct {
	PID   int
	Began string // in clock ticks since boot, as /proc/PID/stat says it
}

// observe reads what the system says about a process.
func observe(pid int) (Record, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Record{}, err
	}
	// The name, in brackets, may hold anything: count from its end. The start
	// time is the 22nd field, the 20th after the name.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return Record{}, fmt.Errorf("cannot read /proc/%d/stat", pid)
	}
	if state := fields[0]; state == "Z" || state == "X" {
		return Record{}, fs.ErrNotExist // ended; only nobody has asked how yet
	}
	return Record{PID: pid, Began: fields[19]}, nil
}

// Read returns the record in a file; a file that is not there is fs.ErrNotExist.
func Read(path string) (Record, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(content, &r); err != nil {
		return Record{}, fmt.Errorf("%s is damaged: %w", path, err)
	}
	return r, nil
}

// write replaces the file in one step, and is on the disk when it returns.
func (r Record) write(path string) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(path), ".record-*")
	if err != nil {
		return err
	}
	defer next.Close()
	if _, err := next.Write(content); err != nil {
		return err
	}
	if err := next.Sync(); err != nil {
		return err
	}
	return os.Rename(next.Name(), path)
}

// Alive says whether exactly this process still runs.
func (r Record) Alive() bool {
	now, err := observe(r.PID)
	return err == nil && now == r
}

// Kill ends the process, and with it everything in its namespaces, and returns
// once all of it is gone. Killing what is gone already is no error.
func (r Record) Kill() error {
	fd, err := unix.PidfdOpen(r.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot open process %d: %w", r.PID, err)
	}
	defer unix.Close(fd)
	// From here on the descriptor means one process; is it still ours?
	if !r.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot kill process %d: %w", r.PID, err)
	}
	// A PID namespace's first process ends only after every other one in it.
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 30_000)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("cannot wait for process %d: %w", r.PID, err)
	}
	if r.Alive() {
		return fmt.Errorf("process %d is still there after 30 s; something in the lab hangs in the kernel", r.PID)
	}
	return nil
}

// Forget removes the record; one that is gone already is no error.
func Forget(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
