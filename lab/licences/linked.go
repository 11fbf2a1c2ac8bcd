package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// module is one linked module, with the folders of its linked packages.
type module struct {
	Path, Version, Dir string
	Packages           []string
}

// platforms are what irkit is released for; the agent for Linux only.
func platforms() []string {
	return []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64"}
}

// links answers the modules of packages on any platform, without the standard
// library and without the main module.
func links(ctx context.Context, dir string, packages []string) ([]module, error) {
	found := map[string]*module{}
	for _, platform := range platforms() {
		system, machine, _ := strings.Cut(platform, "/")
		list, err := goList(ctx, dir, []string{"GOOS=" + system, "GOARCH=" + machine, "CGO_ENABLED=0"}, packages)
		if err != nil {
			return nil, fmt.Errorf("list what %s links on %s: %w", strings.Join(packages, " "), platform, err)
		}
		for line := range strings.Lines(list) {
			field := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			if len(field) != 4 {
				continue
			}
			m := found[field[0]]
			if m == nil {
				m = &module{Path: field[0], Version: field[1], Dir: field[2]}
				found[field[0]] = m
			}
			if !slices.Contains(m.Packages, field[3]) {
				m.Packages = append(m.Packages, field[3])
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s links no module at all: nothing was checked", strings.Join(packages, " "))
	}
	var all []module
	for _, path := range slices.Sorted(maps.Keys(found)) {
		all = append(all, *found[path])
	}
	return all, nil
}

func goList(ctx context.Context, dir string, env, packages []string) (string, error) {
	const form = "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}\t{{$.Dir}}{{end}}{{end}}"
	command := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-f", form}, packages...)...)
	command.Dir = dir
	command.Env = append(os.Environ(), append(env, "GOWORK=off")...)
	var wrong bytes.Buffer
	command.Stderr = &wrong
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(wrong.String()))
	}
	return string(out), nil
}
