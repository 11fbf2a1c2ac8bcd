package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestRecordSurvivesTheDisk(t *testing.T) {
	self, err := observe(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "record")
	if err := self.write(path); err != nil {
		t.Fatal(err)
	}
	read, err := Read(path)
	if err != nil || read != self {
		t.Fatalf("read %v, %v; wrote %v", read, err, self)
	}
	if !read.Alive() {
		t.Error("this process is said to be dead")
	}
}

func TestKillSparesAProcessThatOnlyHasTheID(t *testing.T) {
	command := exec.Command("sleep", "60")
	if err := command.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { command.Process.Kill(); command.Wait() }()
	real, err := observe(command.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	stale := Record{PID: real.PID, Began: "1"}
	if err := stale.Kill(); err != nil {
		t.Fatal(err)
	}
	if !real.Alive() {
		t.Fatal("the wrong process was killed")
	}
	if err := real.Kill(); err != nil {
		t.Fatal(err)
	}
	if real.Alive() {
		t.Error("the right process was spared")
	}
}
