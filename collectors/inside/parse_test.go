//go:build linux

package inside

import (
	"bytes"
	"encoding/base64"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

func TestParseStat(t *testing.T) {
	rest := " S 7 1 1 34816 1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 12345 1000 200 0"
	for name, want := range map[string]string{"plain": "plain", "(sd-pam)": "(sd-pam)", "a) R 0 (b": "a) R 0 (b", "x\ny z": "x\ny z", "": ""} {
		s, err := parseStat([]byte("42 (" + name + ")" + rest))
		if err != nil || s.comm != want || s.state != "S" || s.ppid != 7 || s.start != 12345 || s.threads != 3 || s.tty != 34816 {
			t.Errorf("%q: %+v, %v", name, s, err)
		}
	}
	for _, bad := range []string{"", "1", "1 (x", "1 x) S 1", "1 (x) S 1", ")(", "1 (x) S a 1 1 34816 1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 12345"} {
		if s, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, s)
		}
	}
}

func TestParseStatus(t *testing.T) {
	s := parseStatus([]byte("Name:\tx\\nUid:\t0\nUid:\t1000\t1001\t1002\t1003\nGroups:\t4 24 \nNSpid:\t900\t7\nCapEff:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\nVmRSS:\t    2048 kB\nKthread:\t1\nTracerPid:\t5\nno colon\n"))
	if !slices.Equal(s.uids, []int{1000, 1001, 1002, 1003}) || !slices.Equal(s.groups, []int{4, 24}) || !slices.Equal(s.nspid, []int{900, 7}) ||
		s.caps["eff"] != "00000000a80425fb" || s.noNewPrivs != 1 || s.seccomp != 2 || s.vmRSS != 2<<20 || !s.kthread || s.tracer != 5 {
		t.Errorf("%+v", s)
	}
	if names := capabilities("00000000a80425fb"); len(names) != 14 || names[0] != "CHOWN" || names[13] != "SETFCAP" {
		t.Errorf("default capabilities: %v", names)
	}
	if e := parseStatus(nil); e.seccomp != -1 || e.noNewPrivs != -1 {
		t.Errorf("nothing read is not unknown: %+v", e)
	}
}

func TestParseMount(t *testing.T) {
	m, err := parseMount(`36 35 98:0 /mnt1 /mnt\0402\134x rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue`)
	if err != nil || m.ID != 36 || m.point != `/mnt 2\x` || m.FS != "ext3" || len(m.Optional) != 2 || m.Super != "rw,errors=continue" {
		t.Errorf("%+v, %v", m, err)
	}
	for _, bad := range []string{"", "1 2 3", "a b 98:0 / / rw - ext4 x y", "36 35 98:0 / / rw master:1", "36 35 98:0 / - / rw x"} {
		if m, err := parseMount(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, m)
		}
	}
}

func TestSecretMounts(t *testing.T) {
	for point, c := range map[string]struct {
		root   string
		secret bool
	}{
		"/run/secrets/kubernetes.io/serviceaccount": {"/", true}, "/var/run/secrets/x": {"/", true}, "/run/secretsauce": {"/", false},
		"/etc/one.key": {"/..2026_11_22_20_00_00.99/one.key", true}, "/etc/x": {"/..data/x", true}, "/data": {"/vol", false},
		"/cfg": {"/var/lib/kubelet/pods/u/volumes/kubernetes.io~configmap/cfg", true}, "/w": {"/..hidden/x", false}, "/v": {"/..20xx_y", false},
	} {
		if got := secretMount(Mount{point: point, root: c.root}); got != c.secret {
			t.Errorf("%s from %s: secret %v", point, c.root, got)
		}
	}
}

func TestParseMapping(t *testing.T) {
	m, ok := parseMapping("7f1c5000-7f1c6000 rwxp 00001000 fe:01 1234                       /tmp/.x/lib with space.so (deleted)")
	if !ok || m.Inode != 1234 || m.Perms != "rwxp" || !m.Deleted || m.target != "/tmp/.x/lib with space.so (deleted)" || m.Dev != "254:1" {
		t.Errorf("%+v, %v", m, ok)
	}
	if m, ok := parseMapping("7f1c5000-7f1c6000 rw-p 00000000 00:00 0 "); !ok || m.target != "" {
		t.Errorf("anonymous: %+v, %v", m, ok)
	}
	for _, bad := range []string{"", "x", "1-2 rwxp 0 0:0 x", "12 rwxp 0 0:0 1", "1-2 rw 0 0:0 1"} {
		if m, ok := parseMapping(bad); ok {
			t.Errorf("%q was read as %+v", bad, m)
		}
	}
}

// TestHugeEnvironment: T20. One string of 2 MiB without a NUL, and one of many.
func TestHugeEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		block string
		want  int
	}{
		"no NUL, no name": {strings.Repeat("s", 2<<20), 1}, "long name": {strings.Repeat("n", 1<<20) + "=" + planted, 1},
		"long value": {"A=" + strings.Repeat("v", 2<<20), 1}, "many": {strings.Repeat("a=\x00", 100_000), 100_000}, "NULs": {strings.Repeat("\x00", 2<<20), 0},
	} {
		var all []Variable
		n, err := environ(strings.NewReader(c.block), []byte("k"), false, func(v Variable) error { all = append(all, v); return nil })
		if err != nil || n != int64(len(c.block)) || len(all) != c.want {
			t.Errorf("%s: %d variables of %d bytes, %v", name, len(all), n, err)
		}
		for _, v := range all[:min(1, len(all))] {
			if len(v.Name) > maxName || strings.Contains(v.Name, planted) || v.Value != "" {
				t.Errorf("%s: %.80q", name, v.Name)
			}
		}
	}
	broken := io.MultiReader(strings.NewReader("A=1\x00B=2"), iotest.ErrReader(io.ErrUnexpectedEOF))
	n := 0
	if _, err := environ(broken, nil, false, func(Variable) error { n++; return nil }); err == nil || n != 2 {
		t.Errorf("a block that broke off: %d variables, %v", n, err)
	}
}

// FuzzEnviron: nothing is lost, whatever the block and however it is cut into reads;
// and without Values no value is shown.
func FuzzEnviron(f *testing.F) {
	for _, s := range []string{"", "A=1\x00B=2\x00", "=x\x00", "\x00\x00A", "no equals", "A=\xff\x00\xfe=1", "L\nF=1\x00", strings.Repeat("x", maxName+1) + "=y"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		var parts [][]byte
		add := func(v Variable) error {
			name, value := decode(t, v.Name, v.NameB64), decode(t, v.Value, v.ValueB64)
			if int64(len(value)) != v.Length {
				t.Fatalf("length %d of %q", v.Length, value)
			}
			if !v.NoName {
				value = append(append(name, '='), value...)
			}
			parts = append(parts, value)
			return nil
		}
		if _, err := environ(bytes.NewReader(block), nil, true, add); err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(bytes.Split(block, []byte{0}), func(b []byte) bool { return len(b) == 0 })
		if !slices.EqualFunc(parts, want, bytes.Equal) {
			t.Fatalf("%q came back as %q", want, parts)
		}
		var whole, single []Variable
		_, _ = environ(bytes.NewReader(block), []byte("k"), false, func(v Variable) error { whole = append(whole, v); return nil })
		_, _ = environ(iotest.OneByteReader(bytes.NewReader(block)), []byte("k"), false, func(v Variable) error { single = append(single, v); return nil })
		if !slices.Equal(whole, single) {
			t.Fatalf("read by bytes: %+v, at once: %+v", single, whole)
		}
		for _, v := range whole {
			if v.Value != "" || v.ValueB64 != "" || v.HMACSHA256 == "" {
				t.Fatalf("%+v", v)
			}
		}
	})
}

func decode(t *testing.T, s, b64 string) []byte {
	t.Helper()
	if b64 == "" {
		return []byte(s)
	}
	b, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a) b) S 7 1 1 34816 1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 12345 1000 200 0"))
	f.Add([]byte(")("))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStat(b)
		if err == nil && !bytes.Contains(b, []byte("("+s.comm+")")) {
			t.Fatalf("name %q is not in %q", s.comm, b)
		}
		_ = parseStatus(b)
		_ = arguments(b)
	})
}

func FuzzMounts(f *testing.F) {
	f.Add([]byte("36 35 98:0 /mnt1 /mnt\\0402 rw master:1 - ext3 /dev/root rw\n"))
	f.Add([]byte("1 1 - - - - - - -\n\\400\\\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		mounts, bad := parseMounts(b)
		if len(mounts)+bad > bytes.Count(b, []byte("\n"))+1 {
			t.Fatalf("%d mounts and %d bad of %d lines", len(mounts), bad, bytes.Count(b, []byte("\n")))
		}
		for _, m := range mounts {
			_ = secretMount(m)
			for _, s := range []string{m.Point, m.Root, m.Source, m.FS, m.Options, m.Super} {
				if !utf8.ValidString(s) {
					t.Fatalf("%q is no text", s)
				}
			}
		}
		if m, ok := parseMapping(string(b)); ok {
			_ = mapFile(m.Map)
		}
		new(OpenFile).info(b)
		_ = fileCaps(b)
	})
}

// FuzzUnescape: what the kernel escapes comes back.
func FuzzUnescape(f *testing.F) {
	f.Add("a b\tc\nd\\e#")
	f.Fuzz(func(t *testing.T, s string) {
		escaped := strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`, "\n", `\012`, "#", `\043`).Replace(s)
		if got := unescape(escaped); got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}

func FuzzText(f *testing.F) {
	f.Add("a\xffb")
	f.Fuzz(func(t *testing.T, s string) {
		shown, b64 := text(s)
		if !utf8.ValidString(shown) || string(decode(t, shown, b64)) != s {
			t.Fatalf("%q became %q, %q", s, shown, b64)
		}
		if n := int64(len(s)); padding(n) < 0 || (n+padding(n))%512 != 0 {
			t.Fatal("padding")
		}
		if r := paxRecord("k", s); len(r) != number(strings.SplitN(r, " ", 2)[0], -1) {
			t.Fatalf("record %q does not count itself", r)
		}
	})
}
