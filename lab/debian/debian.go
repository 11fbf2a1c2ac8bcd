// Package debian provides what the lab needs of the machine's distribution.
package debian

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// need is a file that must be there, and the package that brings it.
type need struct{ path, pkg string }

var common = []need{
	{"/usr/bin/gcc", "gcc"},
	{"/usr/include/stdlib.h", "libc6-dev"},
	{"/usr/bin/pkg-config", "pkg-config"},
	{"/usr/include/seccomp.h", "libseccomp-dev"},
	{"/bin/busybox", "busybox-static"},
	{"/usr/lib/cni/loopback", "containernetworking-plugins"},
	{"/usr/sbin/ip", "iproute2"},
	{"/usr/sbin/iptables", "iptables"},
	{"/usr/sbin/nft", "nftables"},
	{"/usr/sbin/conntrack", "conntrack"},
}

// cilium compiles its eBPF programs when it starts.
var cilium = []need{
	{"/usr/lib/llvm-19/bin/clang", "clang-19"},
	{"/usr/lib/llvm-19/bin/llc", "llvm-19"},
}

// Missing lists the packages that a lab with the given network lacks.
func Missing(cni string) []string {
	needs := common
	if cni == "cilium" {
		needs = append(needs[:len(needs):len(needs)], cilium...)
	}
	var missing []string
	for _, n := range needs {
		if _, err := os.Stat(n.path); err != nil {
			missing = append(missing, n.pkg)
		}
	}
	return missing
}

// Provide installs what is missing. Without root it only says what that is.
func Provide(ctx context.Context, cni string, out io.Writer) error {
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("no go command in PATH: the lab compiles its parts")
	}
	missing := Missing(cni)
	if len(missing) == 0 {
		return nil
	}
	command := "apt-get install -y --no-install-recommends " + strings.Join(missing, " ")
	if os.Geteuid() != 0 {
		return fmt.Errorf("missing packages: %s\nlab: hint: as root: %s", strings.Join(missing, " "), command)
	}
	fmt.Fprintf(out, "lab: installing %s\n", strings.Join(missing, " "))
	if err := apt(ctx, append([]string{"install", "-y", "--no-install-recommends"}, missing...)...); err == nil {
		return nil
	}
	// The package lists of a fresh machine are empty or old.
	if err := apt(ctx, "update"); err != nil {
		return err
	}
	return apt(ctx, append([]string{"install", "-y", "--no-install-recommends"}, missing...)...)
}

func apt(ctx context.Context, arguments ...string) error {
	command := exec.CommandContext(ctx, "apt-get", append([]string{"-q", "-o", "DPkg::Lock::Timeout=120"}, arguments...)...)
	command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	output, err := command.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(output)), "\n")
		return fmt.Errorf("apt-get %s: %w\n%s", filepath.Base(arguments[0]), err,
			strings.Join(lines[max(0, len(lines)-10):], "\n"))
	}
	return nil
}
