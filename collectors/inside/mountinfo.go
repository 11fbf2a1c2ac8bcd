//go:build linux

package inside

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Mount is one line of mountinfo (proc_pid_mountinfo(5)), its octal escapes undone.
type Mount struct {
	ID        int      `json:"mount_id"`
	Parent    int      `json:"parent_id"`
	Device    string   `json:"dev"` // major:minor
	Root      string   `json:"root"`
	RootB64   string   `json:"root_b64,omitempty"`
	Point     string   `json:"mount_point"`
	PointB64  string   `json:"mount_point_b64,omitempty"`
	Options   string   `json:"options"`
	Optional  []string `json:"optional"`
	FS        string   `json:"fs"`
	Source    string   `json:"source"`
	SourceB64 string   `json:"source_b64,omitempty"`
	Super     string   `json:"super_options"`
	SuperB64  string   `json:"super_options_b64,omitempty"`

	point, root string // exact bytes
}

// parseMount reads one line.
func parseMount(line string) (Mount, error) {
	f := strings.Split(line, " ")
	sep := slices.Index(f, "-")
	if sep < 6 || len(f) < sep+3 {
		return Mount{}, fmt.Errorf("mountinfo: %d fields, separator at %d", len(f), sep)
	}
	var m Mount
	var err1, err2 error
	m.ID, err1 = strconv.Atoi(f[0])
	m.Parent, err2 = strconv.Atoi(f[1])
	if err1 != nil || err2 != nil {
		return Mount{}, fmt.Errorf("mountinfo: identifiers are no numbers")
	}
	m.Device, m.root, m.point = f[2], unescape(f[3]), unescape(f[4])
	m.Root, m.RootB64 = text(m.root)
	m.Point, m.PointB64 = text(m.point)
	m.Options, _ = text(unescape(f[5]))
	m.Optional = []string{}
	for _, o := range f[6:sep] {
		o, _ = text(o)
		m.Optional = append(m.Optional, o)
	}
	m.FS, _ = text(unescape(f[sep+1]))
	m.Source, m.SourceB64 = text(unescape(f[sep+2]))
	if len(f) > sep+3 {
		m.Super, m.SuperB64 = text(unescape(strings.Join(f[sep+3:], " ")))
	}
	return m, nil
}

// parseMounts reads a whole table; lines that are none are counted.
func parseMounts(b []byte) (mounts []Mount, bad int) {
	for line := range bytes.Lines(b) {
		m, err := parseMount(string(bytes.TrimSuffix(line, []byte("\n"))))
		if err != nil {
			bad++
			continue
		}
		mounts = append(mounts, m)
	}
	return mounts, bad
}

// unescape undoes the kernel's \ooo.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// pseudo are file systems whose files are the kernel's words, not bytes on a medium:
// reading them can have effects and has no end.
var pseudo = map[string]bool{
	"proc": true, "sysfs": true, "cgroup": true, "cgroup2": true, "devtmpfs": true, "devpts": true, "mqueue": true,
	"debugfs": true, "tracefs": true, "securityfs": true, "bpf": true, "configfs": true, "pstore": true,
	"efivarfs": true, "fusectl": true, "binfmt_misc": true, "hugetlbfs": true, "nsfs": true, "rpc_pipefs": true,
	"autofs": true, "selinuxfs": true, "smackfs": true, "resctrl": true, "functionfs": true,
}

// secretMount tells a mount that by its own shape holds a secret, token, configmap or
// projected volume, whatever the request says: the well-known place of service account
// tokens, or a single key out of the kubelet's atomic writer (its folders are named
// ..<year>_…, k8s.io/kubernetes/pkg/volume/util/atomic_writer.go).
func secretMount(m Mount) bool {
	for _, p := range []string{"/var/run/secrets", "/run/secrets"} {
		if m.point == p || strings.HasPrefix(m.point, p+"/") {
			return true
		}
	}
	for part := range strings.SplitSeq(path.Clean(m.root), "/") {
		if atomicFolder(part) {
			return true
		}
	}
	for _, kind := range []string{"kubernetes.io~secret", "kubernetes.io~projected", "kubernetes.io~configmap", "kubernetes.io~downward-api"} {
		if strings.Contains(m.root, "/"+kind+"/") {
			return true
		}
	}
	return false
}

// atomicFolder tells a name of the kubelet's atomic writer: ..data, or ..2026_11_22_….
func atomicFolder(name string) bool {
	if name == "..data" {
		return true
	}
	if len(name) < 8 || !strings.HasPrefix(name, "..") || name[6] != '_' {
		return false
	}
	_, err := strconv.Atoi(name[2:6])
	return err == nil
}
