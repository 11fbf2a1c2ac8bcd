package parts

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"irkit.dev/irkit/lab/place"
)

// Build compiles what the cache lacks and answers where each part stands. Two
// builds at once wait for each other; an interrupted one leaves nothing that a
// later one could mistake for a part.
func Build(ctx context.Context, layout place.Layout, needed []Part, show Progress) (Set, error) {
	if err := os.MkdirAll(layout.Cache, 0o755); err != nil {
		return nil, fmt.Errorf("no place for compiled parts: %w", err)
	}
	release, err := lock(filepath.Join(layout.Cache, "lock"))
	if err != nil {
		return nil, err
	}
	defer release()

	set, err := Locate(layout, needed)
	if err != nil {
		return nil, err
	}
	var missing []Part
	for _, part := range needed {
		if _, err := os.Stat(set[part.Name]); err != nil {
			missing = append(missing, part)
		}
	}
	for i, part := range missing {
		done := show.Begin(i+1, len(missing), part.Name)
		began := time.Now()
		err := part.build(ctx, layout.Source, set[part.Name])
		done(time.Since(began), err)
		if err != nil {
			return nil, err
		}
	}
	return set, nil
}

// Locate says where each part stands, or would stand once it is compiled.
func Locate(layout place.Layout, needed []Part) (Set, error) {
	set := Set{}
	for _, part := range needed {
		hash, err := part.hash(layout.Source)
		if err != nil {
			return nil, err
		}
		set[part.Name] = filepath.Join(layout.Cache, part.Name+"-"+hash)
	}
	return set, nil
}

// build works in a directory beside the final one, and renames it at the end.
func (p Part) build(ctx context.Context, source, final string) error {
	draft := final + ".draft"
	if err := os.RemoveAll(draft); err != nil {
		return err
	}
	if err := os.MkdirAll(draft, 0o755); err != nil {
		return err
	}
	output := draft + "/"
	if p.Output != "" {
		output = filepath.Join(draft, p.Output)
	}
	arguments := []string{"build", "-trimpath", "-buildvcs=false",
		"-ldflags", strings.Join(append([]string{"-s", "-w"}, p.Flags...), " "), "-o", output}
	if p.Tags != "" {
		arguments = append(arguments, "-tags", p.Tags)
	}
	if _, err := p.run(ctx, source, append(arguments, p.Packages...)...); err != nil {
		return err
	}
	if p.Copy != "" {
		if err := p.copyFromModule(ctx, source, draft); err != nil {
			return err
		}
	}
	return os.Rename(draft, final)
}

func (p Part) copyFromModule(ctx context.Context, source, draft string) error {
	directory, err := p.run(ctx, source, "list", "-m", "-f", "{{.Dir}}", p.From)
	if err != nil {
		return err
	}
	from := filepath.Join(strings.TrimSpace(directory), p.Copy)
	return os.CopyFS(filepath.Join(draft, p.Copy), os.DirFS(from))
}

// run calls the go command in the part's module.
func (p Part) run(ctx context.Context, source string, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = filepath.Join(source, p.Name)
	cgo := "CGO_ENABLED=0"
	if p.Cgo {
		cgo = "CGO_ENABLED=1"
	}
	command.Env = append(os.Environ(), cgo, "GOWORK=off")
	// An interrupt reaches go's whole family, not only go itself.
	command.SysProcAttr = &unix.SysProcAttr{Setpgid: true, Pdeathsig: unix.SIGTERM}
	command.Cancel = func() error { return unix.Kill(-command.Process.Pid, unix.SIGTERM) }
	var errors strings.Builder
	command.Stderr = &errors
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("cannot build %s: %w\n%s", p.Name, err, tail(errors.String(), 30))
	}
	return string(output), nil
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// lock waits until no other build writes to the cache.
func lock(path string) (release func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot lock the cache: %w", err)
	}
	return func() { file.Close() }, nil
}
