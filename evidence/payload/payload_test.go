package payload_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/payload"
)

func read(t *testing.T, bag fs.FS, e evidence.Entry) (string, error) {
	t.Helper()
	r, err := payload.Open(bag, e)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), errors.Join(err, r.Close())
}

func packed(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(b, nil)
}

func TestOpen(t *testing.T) {
	plain := strings.Repeat("line\n", 1000)
	z := packed(t, []byte(plain))
	bag := fstest.MapFS{"a": {Data: []byte("ab")}, "e": {}, "b": {Data: []byte("c")}, "z1": {Data: z[:5]}, "z2": {Data: z[5:]}}
	e := evidence.Entry{Parts: []evidence.Part{{Path: "a"}, {Path: "e"}, {Path: "b"}}, Size: 3}
	if got, err := read(t, bag, e); got != "abc" || err != nil {
		t.Errorf("parts joined: %q, %v", got, err)
	}
	e = evidence.Entry{Parts: []evidence.Part{{Path: "z1"}, {Path: "z2"}}, Size: int64(len(z)), Encoding: &evidence.Encoding{Name: "zstd", Size: int64(len(plain))}}
	if got, err := read(t, bag, e); got != plain || err != nil {
		t.Errorf("unpacked: %d bytes, %v", len(got), err)
	}
	e.Encoding.Name = "age"
	if _, err := read(t, bag, e); !errors.Is(err, payload.ErrEncoded) {
		t.Errorf("encrypted: %v, want ErrEncoded", err)
	}
	if _, err := read(t, bag, evidence.Entry{}); !errors.Is(err, payload.ErrNoBytes) {
		t.Errorf("no parts: %v, want ErrNoBytes", err)
	}
	if _, err := read(t, bag, evidence.Entry{Parts: []evidence.Part{{Path: "gone"}}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing part: %v, want ErrNotExist", err)
	}
	if _, err := read(t, bag, evidence.Entry{Parts: []evidence.Part{{Path: "../x"}}}); err == nil {
		t.Error("a path out of the bag is opened")
	}
}

// T10: a bomb gives no more than the entry announces.
func TestBomb(t *testing.T) {
	z := packed(t, make([]byte, 64<<20))
	bag := fstest.MapFS{"z": {Data: z}}
	e := evidence.Entry{Parts: []evidence.Part{{Path: "z"}}, Size: int64(len(z)), Encoding: &evidence.Encoding{Name: "zstd", Size: 1 << 20}}
	r, err := payload.Open(bag, e)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, r)
	if err == nil || n > 1<<20 {
		t.Errorf("bomb gave %d bytes, %v", n, err)
	}
	_ = r.Close()
}

func TestLines(t *testing.T) {
	in := "a\n\n" + strings.Repeat("x", 5<<20) + "\nb\n" + strings.Repeat("y", 1<<20) + "\nlast"
	var got []int
	over, err := payload.Lines(strings.NewReader(in), func(l []byte) error { got = append(got, len(l)); return nil })
	if err != nil || over != 1 || len(got) != 4 || got[2] != 1<<20 || got[3] != 4 {
		t.Errorf("lines of %v bytes, %d too long, %v", got, over, err)
	}
	end := errors.New("end")
	if _, err := payload.Lines(strings.NewReader(in), func([]byte) error { return end }); !errors.Is(err, end) {
		t.Errorf("%v, want the function's error", err)
	}
}

func TestEach(t *testing.T) {
	var got []int
	bad, more, err := payload.Each(strings.NewReader("1\nx\n2\n3\n"), 3, func(n int) { got = append(got, n) })
	if err != nil || bad != 1 || !more || len(got) != 2 {
		t.Errorf("%v, %d bad, more %v, %v", got, bad, more, err)
	}
}

func FuzzEach(f *testing.F) {
	f.Add([]byte("{}\n[]\n\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		bad, _, err := payload.Each(bytes.NewReader(b), 0, func(map[string]any) { n++ })
		if lines := bytes.Count(b, []byte("\n")) + 1; err != nil || n+bad > lines {
			t.Fatalf("%d read, %d bad of %d lines, %v", n, bad, lines, err)
		}
	})
}
