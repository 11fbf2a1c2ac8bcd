package objectstore_test

import (
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/objectstore"
	"irkit.dev/irkit/evidence/storetest"
)

func TestStub(t *testing.T) {
	storetest.Run(t, func(t *testing.T) evidence.Store {
		s := &stub{lock: true}
		c := serve(t, s)
		c.Prefix, c.Lock, c.Retain, c.LegalHold = "team a/evidence", objectstore.Compliance, 24*time.Hour, true
		t.Cleanup(func() {
			if s.uploads != 0 {
				t.Errorf("%d uploads were begun in parts, where the condition is lost", s.uploads)
			}
		})
		return open(t, c)
	})
}

// TestServer runs against a real server: versitygw, MinIO, or a bucket on Amazon S3.
func TestServer(t *testing.T) {
	c := realServer(t)
	n := 0
	storetest.Run(t, func(t *testing.T) evidence.Store {
		c := c
		n++
		c.Prefix = fmt.Sprintf("irkit-test/%d-%d", time.Now().UnixNano(), n)
		return open(t, c)
	})
	t.Run("lock", func(t *testing.T) {
		c := c
		c.Prefix = fmt.Sprintf("irkit-test/%d-lock", time.Now().UnixNano())
		c.Lock, c.Retain, c.LegalHold = objectstore.Governance, 2*time.Hour, true
		locked(t, open(t, c), "GOVERNANCE")
	})
}

func realServer(t *testing.T) objectstore.Config {
	t.Helper()
	if os.Getenv("IRKIT_TEST_S3_ENDPOINT") == "" {
		t.Skip("IRKIT_TEST_S3_ENDPOINT is not set: no real S3 server to test against (with _CA, _BUCKET, _ACCESS_KEY and _SECRET_KEY)")
	}
	get := func(k string) string { return os.Getenv("IRKIT_TEST_S3_" + k) }
	return objectstore.Config{Endpoint: get("ENDPOINT"), CAFile: get("CA"), Bucket: get("BUCKET"), AccessKey: get("ACCESS_KEY"), SecretKey: get("SECRET_KEY")}
}

func locked(t *testing.T, s evidence.Store, mode string) {
	t.Helper()
	for i, b := range [][]byte{nil, storetest.Bytes(100, 1), storetest.Bytes(storetest.Large, 1)} {
		r, err := s.Put(t.Context(), fmt.Sprint("k", i), storetest.File(b))
		if err != nil {
			t.Fatal(err)
		}
		if r.LockMode != mode || !r.LegalHold || r.VersionID == "" || time.Until(r.RetainUntil) < time.Hour {
			t.Errorf("receipt of a locked file: %+v", r)
		}
		if again, err := s.Stat(t.Context(), r.Key); err != nil || again.LockMode != mode || again.VersionID != r.VersionID {
			t.Errorf("Stat of a locked file: %+v, %v", again, err)
		}
	}
}

func TestLock(t *testing.T) {
	c := serve(t, &stub{lock: true})
	c.Lock, c.Retain, c.LegalHold = objectstore.Compliance, 48*time.Hour, true
	locked(t, open(t, c), "COMPLIANCE")
}

func TestLockNotInForce(t *testing.T) {
	for name, change := range map[string]func(*objectstore.Config){
		"retention": func(c *objectstore.Config) { c.Lock, c.Retain = objectstore.Governance, 48*time.Hour },
		"hold":      func(c *objectstore.Config) { c.LegalHold = true },
	} {
		c := serve(t, &stub{lock: true, forgets: true})
		change(&c)
		r, err := open(t, c).Put(t.Context(), "k", storetest.File([]byte("x")))
		if !errors.Is(err, objectstore.ErrNotLocked) || r.VersionID == "" {
			t.Errorf("%s that the server forgets: %+v, %v; want the receipt and ErrNotLocked", name, r, err)
		}
	}
	c := serve(t, &stub{})
	c.LegalHold = true
	if _, err := objectstore.Open(t.Context(), c); !errors.Is(err, objectstore.ErrRefused) || hint(err) == "" {
		t.Errorf("Open of a bucket without Object Lock: %v, want ErrRefused with a hint", err)
	}
}

func hint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}

// Nothing may be read of the bucket's configuration, and yet files may be put there.
func TestLeastPrivilege(t *testing.T) {
	c := serve(t, &stub{lock: true, deny: map[string]bool{"object-lock": true}})
	c.LegalHold = true
	if _, err := open(t, c).Put(t.Context(), "k", storetest.File([]byte("x"))); err != nil {
		t.Error(err)
	}
}

// A server that keeps no digest of the whole is read instead.
func TestNoDigest(t *testing.T) {
	st := open(t, serve(t, &stub{noDigest: true}))
	b := storetest.File(storetest.Bytes(1<<20, 1))
	for _, already := range []bool{false, true} {
		if r, err := st.Put(t.Context(), "k", b); err != nil || r.SHA256 != b.SHA256 || r.Already != already {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if _, err := st.Put(t.Context(), "k", storetest.File(storetest.Bytes(1<<20, 2))); !errors.Is(err, evidence.ErrExists) {
		t.Errorf("other bytes: %v, want ErrExists", err)
	}
}

func TestDeleteMarker(t *testing.T) {
	s := &stub{}
	c := serve(t, s)
	st := open(t, c)
	b := storetest.File([]byte("x"))
	first, err := st.Put(t.Context(), "k", b)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.objects["k"] = append(s.objects["k"], version{id: "d", marker: true})
	s.mu.Unlock()
	if _, err := st.Stat(t.Context(), "k"); !errors.Is(err, evidence.ErrNotFound) || !strings.Contains(err.Error(), "delete marker") {
		t.Errorf("Stat under a delete marker: %v, want ErrNotFound that names it", err)
	}
	r, err := st.Put(t.Context(), "k", b)
	if err != nil || r.Already || r.VersionID == first.VersionID {
		t.Errorf("Put over a delete marker: %+v, %v; want a new version", r, err)
	}
}

func TestTriesAgain(t *testing.T) {
	for name, s := range map[string]*stub{"busy": {busy: 2}, "another writer": {conflict: 3}} {
		st := open(t, serve(t, s))
		if r, err := st.Put(t.Context(), "k", storetest.File([]byte("x"))); err != nil || r.Already {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	s := &stub{busy: 100}
	st := open(t, serve(t, s))
	if _, err := st.Put(t.Context(), "k", storetest.File([]byte("x"))); !errors.Is(err, objectstore.ErrUnreachable) {
		t.Errorf("store that stays busy: %v, want ErrUnreachable", err)
	}
	if s.puts != 3 {
		t.Errorf("store that stays busy was tried %d times, want 3", s.puts)
	}
}

func TestRefused(t *testing.T) {
	good := serve(t, &stub{})
	plain := httptest.NewServer(&stub{})
	t.Cleanup(plain.Close)
	for name, change := range map[string]func(*objectstore.Config){
		"no such bucket":      func(c *objectstore.Config) { c.Bucket = "other" },
		"wrong key":           func(c *objectstore.Config) { c.AccessKey = "NOT" },
		"untrusted authority": func(c *objectstore.Config) { c.CAFile = "" },
		"no TLS":              func(c *objectstore.Config) { c.Endpoint = "https" + strings.TrimPrefix(plain.URL, "http") },
		"no credentials": func(c *objectstore.Config) {
			c.AccessKey, c.SecretKey, c.NoInstanceRole, c.CredentialsFile = "", "", true, filepath.Join(t.TempDir(), "none")
		},
	} {
		c := good
		change(&c)
		_, err := objectstore.Open(t.Context(), c)
		if !errors.Is(err, objectstore.ErrRefused) || errors.Is(err, objectstore.ErrUnreachable) {
			t.Errorf("%s: %v, want ErrRefused", name, err)
		}
		if hint(err) == "" && name != "no such bucket" && name != "no TLS" {
			t.Errorf("%s: %v has no hint", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: error repeats the secret key", name)
		}
	}
}

func TestOutOfReach(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and never says anything
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	nobody := l.Addr().String()
	_ = l.Close()
	for name, addr := range map[string]string{"nobody listens": nobody, "silence": silent.Addr().String(), "no such name": "s3.invalid:443"} {
		c := objectstore.Config{Bucket: "evidence", Endpoint: "https://" + addr, AccessKey: "KEY", SecretKey: "SECRET", Patience: time.Second}
		if _, err := objectstore.Open(t.Context(), c); !errors.Is(err, objectstore.ErrUnreachable) || errors.Is(err, objectstore.ErrRefused) {
			t.Errorf("%s: %v, want ErrUnreachable", name, err)
		}
	}
}

// A store that goes away between two requests, and one that stops in the middle of one.
func TestGoesAway(t *testing.T) {
	s := &stub{objects: map[string][]version{}}
	c, srv := start(t, s)
	c.Patience, c.Stall = time.Second, time.Second
	st := open(t, c)
	s.mu.Lock() // the server answers nobody
	_, err := st.Stat(t.Context(), "k")
	s.mu.Unlock()
	if !errors.Is(err, objectstore.ErrUnreachable) {
		t.Errorf("Stat of a server that stands still: %v, want ErrUnreachable", err)
	}
	srv.Close()
	if _, err := st.Put(t.Context(), "k", storetest.File([]byte("x"))); !errors.Is(err, objectstore.ErrUnreachable) {
		t.Errorf("Put to a server that is gone: %v, want ErrUnreachable", err)
	}
}
