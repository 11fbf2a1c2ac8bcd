//go:build linux

package inside

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"irkit.dev/irkit/agent"
	"irkit.dev/irkit/evidence"
)

func TestEnvironmentKeepsValuesBack(t *testing.T) {
	cmd := suspect("wait")
	cmd.Env = append(cmd.Env, "DB_PASSWORD="+planted, "A=b=c", "EMPTY=", "no-equals-"+planted, "LINE\nFEED=x", "BAD\xff=y")
	cmd.Args = []string{"suspect", control}
	pid := start(t, alone(cmd))
	key := []byte("case key")
	r := New(Options{TargetPID: pid})
	_, err := r.Snapshot(t.Context())
	must(t, err)
	seen := false
	for _, kind := range Kinds() {
		if kind == "filesystem" || kind == "persistence" || kind == "recovered" {
			continue // of this machine, where the test's own source lies
		}
		for _, g := range collect(t, r, agent.Request{Kind: kind, HMACKey: key}) {
			said := fmt.Sprintf("%+v %+v %v", g.Header, g.trailer, g.err)
			if bytes.Contains(g.bytes, []byte(planted)) || strings.Contains(said, planted) {
				t.Errorf("%s holds the planted value", g.Kind)
			}
			seen = seen || bytes.Contains(g.bytes, []byte(control))
		}
	}
	if !seen {
		t.Error("the control value is nowhere: this test could not have failed")
	}
	of := func(q agent.Request) Environment {
		q.Kind, q.HMACKey = "environment", key
		for _, e := range lines[Environment](t, one(t, collect(t, r, q), "environment").bytes) {
			if e.PID == pid {
				return e
			}
		}
		t.Fatalf("no environment of process %d", pid)
		return Environment{}
	}
	e := of(agent.Request{})
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(planted))
	want := []Variable{
		{Name: asChild, Length: 4}, {Name: "DB_PASSWORD", Length: int64(len(planted)), HMACSHA256: hex.EncodeToString(mac.Sum(nil))},
		{Name: "A", Length: 3}, {Name: "EMPTY"}, {NoName: true, Length: int64(len("no-equals-" + planted))},
		{Name: "LINE\nFEED", Length: 1}, {Name: "BAD\ufffd", NameB64: "QkFE/w==", Length: 1},
	}
	if len(e.Variables) != len(want) {
		t.Fatalf("%d variables, want %d: %+v", len(e.Variables), len(want), e.Variables)
	}
	for i, v := range e.Variables {
		w := want[i]
		if v.Name != w.Name || v.NameB64 != w.NameB64 || v.Length != w.Length || v.NoName != w.NoName || v.Value != "" || len(v.HMACSHA256) != 64 || (w.HMACSHA256 != "" && v.HMACSHA256 != w.HMACSHA256) {
			t.Errorf("variable %d: %+v, want %+v", i, v, w)
		}
	}
	if e := of(agent.Request{Values: true}); e.Variables[1].Value != planted {
		t.Errorf("with values: %+v", e.Variables[1])
	}
}

func TestSecretVolumes(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/etc/passwd", "app:x:1000:1000::/home/app:/bin/sh\n")
	write(t, root+"/home/app/.bash_history", control)
	must(t, os.Symlink("/creds/token", root+"/etc/resolv.conf"))
	must(t, os.Symlink("/creds", root+"/home/app/.ssh"))
	must(t, os.Symlink("/run", root+"/var-run"))
	write(t, root+"/tmp/..data", control) // what looks like a secret volume, but is the target's
	pid := inRoot(t, root, "tmpfs secret /creds", "tmpfs secret /run/secrets/kubernetes.io/serviceaccount", "tmpfs volume /data", "proc pseudo /proc")
	for name, c := range map[string]struct {
		skip   []string
		volume bool
	}{"named": {[]string{"/creds", "/var-run/secrets/kubernetes.io/serviceaccount", "/data"}, false}, "by shape": {nil, true}} {
		t.Run(name, func(t *testing.T) {
			var all []got
			for _, kind := range Kinds() {
				all = append(all, collect(t, New(Options{TargetPID: pid}), agent.Request{Kind: kind, SkipMounts: c.skip, HMACKey: []byte("k")})...)
			}
			controls, volume, left, lost := 0, false, 0, false
			for _, g := range all {
				if bytes.Contains(g.bytes, []byte(planted)) {
					t.Errorf("%s holds the planted value", g.Kind)
				}
				controls += bytes.Count(g.bytes, []byte(control))
				volume = volume || bytes.Contains(g.bytes, []byte("VOLUME-CONTROL"))
				if g.Kind == "filesystem-index" {
					for p, n := range index(t, g.bytes) {
						if strings.HasSuffix(p, "/token") && n.Type == "file" {
							left++
							if n.Content != leftOut || n.HMACSHA256 == "" || n.SHA256 != nil || n.Size != int64(len(planted)) {
								t.Errorf("%s: %+v", p, n)
							}
						}
						if strings.HasPrefix(p, "/proc/") {
							t.Errorf("%s: went into a pseudo file system", p)
						}
					}
				}
				lost = lost || (g.Absent != nil && g.Absent.Status == evidence.LeftOut && strings.Contains(string(g.OrigName), "token"))
			}
			if controls < 3 || volume != c.volume || left != 2 {
				t.Errorf("%d controls, volume %v, %d secrets by name and digest", controls, volume, left)
			}
			if !lost {
				t.Error("the rotated secret that is still open has no entry that says it was left out")
			}
		})
	}
}
