//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/oklog/ulid/v2"

	"irkit.dev/irkit/evidence"
	"irkit.dev/irkit/evidence/upload"
)

// bucket is the lab's, with Object Lock.
const bucket = "evidence"

// labStore reads what a shell would be told to set for the lab's S3 service.
func labStore(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	s := bufio.NewScanner(strings.NewReader(string(mustRead(t, filepath.Join(labDir, "s3.env")))))
	for s.Scan() {
		name, value, ok := strings.Cut(strings.TrimPrefix(s.Text(), "export "), "=")
		if ok {
			out[name] = value
		}
	}
	if region, ok := out["IRKIT_S3_REGION"]; ok {
		out["AWS_REGION"] = region
	}
	return out
}

func (p *person) withStore(set map[string]string) {
	p.env = nil
	for k, v := range set {
		p.env = append(p.env, k+"="+v)
	}
}

// s3 is a client of its own, so that what irkit says is in the store is looked up by
// another.
func s3(t *testing.T, set map[string]string) *minio.Client {
	t.Helper()
	at, err := url.Parse(set["IRKIT_S3_ENDPOINT"])
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(mustRead(t, set["IRKIT_S3_CA"]))
	c, err := minio.New(at.Host, &minio.Options{
		Creds: credentials.NewStaticV4(set["AWS_ACCESS_KEY_ID"], set["AWS_SECRET_ACCESS_KEY"], ""), Secure: true,
		Region: set["AWS_REGION"], Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStore: a sealed bundle in S3 under a lock that is read back, with the receipt and
// the later custody records.
func TestStore(t *testing.T) {
	t.Parallel()
	set := labStore(t)
	pod := small(t, cluster(t))
	p := newPerson(t)
	p.withStore(set)
	prefix := "e2e-" + strings.ToLower(ulid.Make().String())
	store := "s3://" + bucket + "/" + prefix
	r := p.collect(pod, "--store", store, "--lock", "governance", "--retain", "1h").want(t, 0).result(t)
	if r.Receipt == "" || r.StoreError != "" {
		t.Fatalf("receipt %q, store error %q", r.Receipt, r.StoreError)
	}
	checkReceipt(t, r, store, "GOVERNANCE")
	checkStored(t, s3(t, set), r, prefix)

	p.irkit("upload", r.Bundle, "--store", store, "--lock", "governance", "--retain", "1h").want(t, 0)
	checkReceipt(t, r, store, "GOVERNANCE")
	checkStored(t, s3(t, set), r, prefix)
	p.irkit("verify", r.Bundle).want(t, 0)
}

func checkReceipt(t *testing.T, r result, store, lock string) {
	t.Helper()
	var all upload.Receipts
	if err := json.Unmarshal(mustRead(t, r.Receipt), &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Stores) != 1 || all.Stores[0].Store != store || all.Seal != r.Seal {
		t.Fatalf("receipt: seal %s, stores %+v", all.Seal, all.Stores)
	}
	if filepath.Dir(r.Receipt) != filepath.Dir(r.Bundle) {
		t.Errorf("the receipt %s is not beside the bundle", r.Receipt)
	}
	for _, f := range all.Stores[0].Files {
		if f.LockMode != lock || lock != "" && time.Until(f.RetainUntil) < 30*time.Minute {
			t.Errorf("%s: lock %q until %s", f.Key, f.LockMode, f.RetainUntil)
		}
	}
}

// checkStored compares every file of the bundle, and every record beside it, with what
// the store gives back.
func checkStored(t *testing.T, c *minio.Client, r result, prefix string) {
	t.Helper()
	there := map[string]int{}
	for o := range c.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: prefix + "/", Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		there[o.Key]++
	}
	id := filepath.Base(r.Bundle)
	roots := []string{r.Bundle, filepath.Join(filepath.Dir(r.Bundle), evidence.CustodyDir(id))}
	files := 0
	for _, root := range roots {
		for _, path := range regular(t, root) {
			rel, err := filepath.Rel(filepath.Dir(r.Bundle), path)
			if err != nil {
				t.Fatal(err)
			}
			key := prefix + "/" + filepath.ToSlash(rel)
			if there[key] != 1 {
				t.Errorf("%s is in the store %d times", key, there[key])
			}
			files++
		}
	}
	if len(there) != files {
		t.Errorf("%d files here, %d in the store", files, len(there))
	}
	key := prefix + "/" + id + "/" + evidence.SealSignature
	stat, err := c.StatObject(t.Context(), bucket, key, minio.StatObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	until, err := time.Parse(time.RFC3339, stat.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if mode := stat.Metadata.Get("X-Amz-Object-Lock-Mode"); mode != "GOVERNANCE" || err != nil || time.Until(until) < 30*time.Minute {
		t.Errorf("lock of %s as another client reads it: %q until %s, %v", key, mode, until, err)
	}
	if err := c.RemoveObject(t.Context(), bucket, key, minio.RemoveObjectOptions{VersionID: stat.VersionID}); err == nil {
		t.Errorf("version %s of %s could be removed", stat.VersionID, key)
	}
	o, err := c.GetObject(t.Context(), bucket, key, minio.GetObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, mustRead(t, filepath.Join(r.Bundle, evidence.SealSignature))) {
		t.Errorf("the stored signature has other bytes: %v", err)
	}
}

func regular(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestStoreOutOfReach: a bucket that nobody answers for costs no evidence. What is sealed
// here goes up later.
func TestStoreOutOfReach(t *testing.T) {
	t.Parallel()
	set := labStore(t)
	right := set["IRKIT_S3_ENDPOINT"]
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	set["IRKIT_S3_ENDPOINT"] = "https://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	pod := small(t, cluster(t))
	p := newPerson(t)
	p.withStore(set)
	prefix := "e2e-" + strings.ToLower(ulid.Make().String())
	store := "s3://" + bucket + "/" + prefix
	ran := p.collect(pod, "--store", store).want(t, 3).says(t, "sealed here, but not stored", "hint: irkit upload")
	r := ran.result(t)
	if r.Receipt != "" || r.StoreError == "" || r.Seal.IsZero() {
		t.Errorf("receipt %q, store error %q, seal %s", r.Receipt, r.StoreError, r.Seal)
	}
	if err := verifyStock(t, r.Bundle); err != nil {
		t.Error(err)
	}
	p.irkit("upload", r.Bundle, "--store", store).want(t, 3)

	set["IRKIT_S3_ENDPOINT"] = right
	p.withStore(set)
	r.Receipt = strings.TrimSpace(p.irkit("upload", r.Bundle, "--store", store, "--lock", "governance", "--retain", "1h").want(t, 0).stdout)
	checkReceipt(t, r, store, "GOVERNANCE")
	checkStored(t, s3(t, set), r, prefix)
	p.irkit("verify", r.Bundle).want(t, 0)
}

// TestStoreFolder: the same with a folder for a store.
func TestStoreFolder(t *testing.T) {
	t.Parallel()
	pod := small(t, cluster(t))
	p := newPerson(t)
	store := filepath.Join(p.home, "drawer")
	r := p.collect(pod, "--store", store).want(t, 0).result(t)
	checkReceipt(t, r, store, "")
	stored := filepath.Join(store, filepath.Base(r.Bundle))
	if err := verifyStock(t, stored); err != nil {
		t.Error(err)
	}
	p.irkit("verify", stored).want(t, 0)
	p.irkit("upload", r.Bundle, "--store", store).want(t, 0)
}
