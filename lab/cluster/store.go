package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"irkit.dev/irkit/lab/place"
)

// makeBucket makes the bucket for evidence, with Object Lock, unless it is there.
func (l Lab) makeBucket(ctx context.Context) error {
	client, err := l.store()
	if err != nil {
		return err
	}
	there, err := client.BucketExists(ctx, place.StoreBucket)
	if err != nil || there {
		return err
	}
	options := minio.MakeBucketOptions{Region: place.StoreRegion, ObjectLocking: true}
	if err := client.MakeBucket(ctx, place.StoreBucket, options); err != nil {
		return err
	}
	lock, _, _, _, err := client.GetObjectLockConfig(ctx, place.StoreBucket)
	if err != nil {
		return err
	}
	if lock != "Enabled" {
		return fmt.Errorf("the store made bucket %s without Object Lock (%q)", place.StoreBucket, lock)
	}
	return nil
}

func (l Lab) storeServes(ctx context.Context) error {
	client, err := l.store()
	if err != nil {
		return err
	}
	there, err := client.BucketExists(ctx, place.StoreBucket)
	if err == nil && !there {
		err = fmt.Errorf("it has no bucket %s", place.StoreBucket)
	}
	if err != nil {
		return fmt.Errorf("the store does not serve: %w", err)
	}
	return nil
}

func (l Lab) store() (*minio.Client, error) {
	authority, err := os.ReadFile(l.Layout.Authority())
	if err != nil {
		return nil, err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)
	return minio.New(place.StoreOutside, &minio.Options{
		Creds:  credentials.NewStaticV4(place.StoreUser, place.StoreSecret, ""),
		Secure: true,
		Region: place.StoreRegion,
		// No proxy: the store is on this machine's loopback.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, DisableKeepAlives: true},
	})
}

// Environment lists what a client of the lab wants to have set.
func (l Lab) Environment() []string {
	return append([]string{"KUBECONFIG=" + l.Layout.Kubeconfig()}, l.storeEnvironment()...)
}

func (l Lab) storeEnvironment() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + place.StoreUser,
		"AWS_SECRET_ACCESS_KEY=" + place.StoreSecret,
		"IRKIT_S3_ENDPOINT=https://" + place.StoreOutside,
		"IRKIT_S3_CA=" + l.Layout.Authority(),
		"IRKIT_S3_REGION=" + place.StoreRegion,
	}
}

func (l Lab) writeStoreEnvironment() error {
	var text strings.Builder
	for _, line := range l.storeEnvironment() {
		fmt.Fprintln(&text, "export", line)
	}
	return os.WriteFile(l.Layout.StatePath("s3.env"), []byte(text.String()), 0o600)
}
