package objectstore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"irkit.dev/irkit/evidence/objectstore"
)

// stub behaves as the Amazon S3 documentation says, in what matters here and in what
// other servers do not do: Object Lock without a checksum is refused, conditional headers
// count on a PUT and not when an upload in parts begins or ends.
type stub struct {
	mu       sync.Mutex
	objects  map[string][]version // by key, last is current
	lock     bool                 // bucket has Object Lock
	deny     map[string]bool      // GET subresources answered with 403
	noDigest bool                 // HEAD tells no checksum
	forgets  bool                 // takes a lock and does not keep it
	busy     int                  // PUTs still to be answered with 503
	conflict int                  // PUTs still to be answered with 409
	puts     int
	uploads  int // begun in parts
}

type version struct {
	id, mode, until, hold string
	body                  []byte
	marker                bool
	at                    time.Time
}

func fail(w http.ResponseWriter, status int, code, msg string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, msg)
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		return
	case bucket != "evidence":
		fail(w, 404, "NoSuchBucket", "The specified bucket does not exist")
	case !strings.Contains(r.Header.Get("Authorization"), "Credential=KEY/"):
		fail(w, 403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
	case key == "" && q.Has("object-lock"):
		s.lockConfig(w)
	case key == "" && r.Method == http.MethodGet:
		s.list(w, q.Get("prefix"))
	case r.Method == http.MethodPost && q.Has("uploads"): // accepts no conditional header
		s.uploads++
		_, _ = fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>`)
	case r.Method == http.MethodPut:
		s.put(w, r, key, body)
	case r.Method == http.MethodDelete:
		s.objects[key] = append(s.objects[key], version{id: fmt.Sprint("d", len(s.objects[key])), marker: true})
		w.WriteHeader(204)
	default:
		s.get(w, r, key)
	}
}

func (s *stub) lockConfig(w http.ResponseWriter) {
	switch {
	case s.deny["object-lock"]:
		fail(w, 403, "AccessDenied", "Access Denied")
	case !s.lock:
		fail(w, 404, "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket")
	default:
		_, _ = fmt.Fprint(w, `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>`)
	}
}

func (s *stub) put(w http.ResponseWriter, r *http.Request, key string, body []byte) {
	s.puts++
	h := r.Header
	mode, until, hold := h.Get("X-Amz-Object-Lock-Mode"), h.Get("X-Amz-Object-Lock-Retain-Until-Date"), h.Get("X-Amz-Object-Lock-Legal-Hold")
	sum := h.Get("X-Amz-Checksum-Sha256")
	actual := sha256.Sum256(body)
	vs := s.objects[key]
	switch {
	case s.busy > 0:
		s.busy--
		fail(w, 503, "SlowDown", "Please reduce your request rate.")
	case s.conflict > 0:
		s.conflict--
		fail(w, 409, "ConditionalRequestConflict", "A conflicting operation occurred")
	case int64(len(body)) != r.ContentLength:
		fail(w, 400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")
	case mode+hold != "" && !s.lock:
		fail(w, 400, "InvalidRequest", "Bucket is missing Object Lock Configuration")
	case mode+hold != "" && sum == "" && h.Get("Content-Md5") == "":
		fail(w, 400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters")
	case sum != "" && sum != base64.StdEncoding.EncodeToString(actual[:]):
		fail(w, 400, "BadDigest", "The SHA256 you specified did not match the calculated checksum.")
	case h.Get("X-Amz-Content-Sha256") != fmt.Sprintf("%x", actual):
		fail(w, 400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed.")
	case h.Get("If-None-Match") == "*" && len(vs) > 0 && !vs[len(vs)-1].marker:
		fail(w, 412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
	default:
		v := version{id: fmt.Sprint("v", len(vs)), mode: mode, until: until, hold: hold, body: body, at: time.Now()}
		if s.forgets {
			v.mode, v.until, v.hold = "", "", ""
		}
		s.objects[key] = append(vs, v)
		w.Header().Set("X-Amz-Version-Id", v.id)
	}
}

func (s *stub) get(w http.ResponseWriter, r *http.Request, key string) {
	vs, q := s.objects[key], r.URL.Query()
	i := len(vs) - 1
	if id := q.Get("versionId"); id != "" {
		i = slices.IndexFunc(vs, func(v version) bool { return v.id == id })
	}
	if i < 0 || vs[i].marker {
		if i >= 0 {
			w.Header().Set("X-Amz-Delete-Marker", "true")
		}
		fail(w, 404, "NoSuchKey", "The specified key does not exist.")
		return
	}
	v := vs[i]
	if q.Has("retention") || q.Has("legal-hold") {
		fail(w, 404, "NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration")
		return
	}
	h := w.Header()
	for k, val := range map[string]string{"X-Amz-Version-Id": v.id, "X-Amz-Object-Lock-Mode": v.mode,
		"X-Amz-Object-Lock-Retain-Until-Date": v.until, "X-Amz-Object-Lock-Legal-Hold": v.hold} {
		if val != "" {
			h.Set(k, val)
		}
	}
	if r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" && !s.noDigest {
		sum := sha256.Sum256(v.body)
		h.Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(sum[:]))
	}
	h.Set("ETag", `"e"`)
	http.ServeContent(w, r, "", v.at, bytes.NewReader(v.body))
}

func (s *stub) list(w http.ResponseWriter, prefix string) {
	var keys []string
	for k, vs := range s.objects {
		if strings.HasPrefix(k, prefix) && !vs[len(vs)-1].marker {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	_, _ = fmt.Fprint(w, `<ListBucketResult><IsTruncated>false</IsTruncated>`)
	for _, k := range keys {
		v := s.objects[k][len(s.objects[k])-1]
		_, _ = fmt.Fprintf(w, `<Contents><Key>%s</Key><Size>%d</Size><LastModified>%s</LastModified></Contents>`, k, len(v.body), v.at.UTC().Format(time.RFC3339Nano))
	}
	_, _ = fmt.Fprint(w, `</ListBucketResult>`)
}

// serve starts the stub over TLS, and gives the configuration that reaches it.
func serve(t *testing.T, s *stub) objectstore.Config {
	t.Helper()
	c, _ := start(t, s)
	return c
}

func start(t *testing.T, s *stub) (objectstore.Config, *httptest.Server) {
	t.Helper()
	s.objects = map[string][]version{}
	srv := httptest.NewTLSServer(s)
	t.Cleanup(srv.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return objectstore.Config{Bucket: "evidence", Endpoint: srv.URL, CAFile: ca, AccessKey: "KEY", SecretKey: "SECRET", Patience: 6 * time.Second}, srv
}

func open(t *testing.T, c objectstore.Config) *objectstore.Store {
	t.Helper()
	s, err := objectstore.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
