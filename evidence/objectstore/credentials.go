package objectstore

import (
	"fmt"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// credentials is where the key comes from: named ones, the shared file, the machine's role.
func (c Config) credentials() (*credentials.Credentials, error) {
	if c.AccessKey != "" {
		return credentials.NewStaticV4(c.AccessKey, c.SecretKey, c.SessionToken), nil
	}
	providers := []credentials.Provider{&credentials.FileAWSCredentials{Filename: c.CredentialsFile, Profile: c.Profile}}
	if !c.NoInstanceRole {
		// Elsewhere than in a cloud nobody answers there: then it must not take long.
		providers = append(providers, &credentials.IAM{Client: roleClient(c.patience() / 5), Region: c.Region})
	}
	creds := credentials.NewChainCredentials(providers)
	v, err := creds.GetWithContext(&credentials.CredContext{Client: roleClient(c.patience() / 5)})
	if err != nil {
		return nil, fmt.Errorf("find credentials: %w", err)
	}
	if v.AccessKeyID == "" {
		return nil, hinted{fmt.Errorf("no credentials found: %w", ErrRefused),
			"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile of the shared credentials file with AWS_PROFILE, or run where a role is given"}
	}
	return creds, nil
}

func roleClient(limit time.Duration) *http.Client { return &http.Client{Timeout: limit} }
