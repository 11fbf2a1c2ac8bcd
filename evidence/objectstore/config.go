package objectstore

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/s3utils"

	"irkit.dev/irkit/evidence"
)

// Lock is the Object Lock mode that each file gets in its own PUT.
type Lock string

// Lock modes (Amazon S3 User Guide, Object Lock).
const (
	NoLock     Lock = ""
	Governance Lock = "GOVERNANCE" // who holds s3:BypassGovernanceRetention may shorten it
	Compliance Lock = "COMPLIANCE" // nobody may shorten it
)

// Config says which bucket, how to reach it, and how what is put there is kept.
type Config struct {
	Bucket   string
	Prefix   string // in front of every key; empty for none
	Endpoint string // https://host[:port]; empty: Amazon S3. http only to this machine
	Region   string // empty: asked of Amazon S3; us-east-1 for another endpoint
	CAFile   string // PEM file of an authority to trust besides the system's

	Lock      Lock
	Retain    time.Duration // from the moment of each PUT; with Lock, and only with it
	LegalHold bool
	SSE       string // empty: as the bucket says; AES256; aws:kms
	KMSKeyID  string // for aws:kms; empty: the account's own key

	// AccessKey and SecretKey, when set, are used. Else the shared file of Profile is
	// read, and then the role of the machine or pod (web identity, container, instance).
	AccessKey, SecretKey, SessionToken string
	Profile, CredentialsFile           string
	NoInstanceRole                     bool // never ask the machine's metadata address

	// Patience is how long Open may take to hear from the bucket, and any later request
	// to get a connection with all its tries; 15 s when 0. Stall is how long a transfer may
	// stand still; 45 s when 0.
	Patience, Stall time.Duration

	Now func() time.Time // for Retain; time.Now when nil
}

// hinted is an error with a sentence on what a person can do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Hint() string  { return h.hint }
func (h hinted) Unwrap() error { return h.error }

// Parse reads s3://bucket/prefix. An URL with a user, a password, a query or a
// fragment is refused, and never repeated in the error: it may hold a secret.
func Parse(s string) (bucket, prefix string, err error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", "", errors.New("store address cannot be read: want s3://bucket/prefix")
	case u.User != nil:
		return "", "", hinted{errors.New("store address holds a user or a secret"),
			"credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a shared credentials file (AWS_PROFILE) or the machine's role; withdraw a key that was typed on a command line"}
	case u.Scheme != "s3" || u.Opaque != "":
		return "", "", errors.New("store address: want s3://bucket/prefix")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Port() != "":
		return "", "", hinted{errors.New("store address has more than a bucket and a prefix"),
			"the endpoint is given by IRKIT_S3_ENDPOINT or AWS_ENDPOINT_URL_S3"}
	}
	prefix = strings.Trim(u.Path, "/")
	return u.Host, prefix, Config{Bucket: u.Host, Prefix: prefix}.check()
}

// FromEnv fills in what the environment says, through lookup (os.LookupEnv): the names that the AWS
// tools share, and IRKIT_S3_ENDPOINT, _CA, _LOCK (governance, compliance), _RETAIN (a Go duration, or
// days: 1825d), _LEGAL_HOLD, _SSE and _KMS_KEY.
func FromEnv(lookup func(string) (string, bool)) (Config, error) {
	get := func(names ...string) string {
		for _, n := range names {
			if v, ok := lookup(n); ok && v != "" {
				return v
			}
		}
		return ""
	}
	c := Config{
		Endpoint:        get("IRKIT_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
		Region:          get("AWS_REGION", "AWS_DEFAULT_REGION"),
		CAFile:          get("IRKIT_S3_CA", "AWS_CA_BUNDLE"),
		Lock:            Lock(strings.ToUpper(get("IRKIT_S3_LOCK"))),
		SSE:             get("IRKIT_S3_SSE"),
		KMSKeyID:        get("IRKIT_S3_KMS_KEY"),
		AccessKey:       get("AWS_ACCESS_KEY_ID"),
		SecretKey:       get("AWS_SECRET_ACCESS_KEY"),
		SessionToken:    get("AWS_SESSION_TOKEN"),
		Profile:         get("AWS_PROFILE"),
		CredentialsFile: get("AWS_SHARED_CREDENTIALS_FILE"),
		NoInstanceRole:  strings.EqualFold(get("AWS_EC2_METADATA_DISABLED"), "true"),
	}
	var err error
	if v := get("IRKIT_S3_RETAIN"); v != "" {
		if c.Retain, err = Duration(v); err != nil {
			return Config{}, fmt.Errorf("IRKIT_S3_RETAIN: %w", err)
		}
	}
	if v := get("IRKIT_S3_LEGAL_HOLD"); v != "" {
		if c.LegalHold, err = strconv.ParseBool(v); err != nil {
			return Config{}, fmt.Errorf("IRKIT_S3_LEGAL_HOLD: %q is neither true nor false", v)
		}
	}
	return c, nil
}

// Duration reads a Go duration, or whole days as in 1825d.
func Duration(s string) (time.Duration, error) {
	days, ok := strings.CutSuffix(s, "d")
	if !ok {
		return time.ParseDuration(s)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of days", s)
	}
	return time.Duration(n) * 24 * time.Hour, nil
}

// check reports what can be known to be wrong before anything is sent.
func (c Config) check() error {
	if err := s3utils.CheckValidBucketNameStrict(c.Bucket); err != nil {
		return fmt.Errorf("bucket %q: %w", c.Bucket, err)
	}
	if c.Prefix != "" {
		if err := evidence.CheckKey(c.Prefix); err != nil {
			return fmt.Errorf("prefix: %w", err)
		}
	}
	switch {
	case c.Lock != NoLock && c.Lock != Governance && c.Lock != Compliance:
		return fmt.Errorf("lock %q: want governance or compliance", c.Lock)
	case c.Lock != NoLock && c.Retain <= 0:
		return errors.New("lock without a time to retain")
	case c.Lock == NoLock && c.Retain != 0:
		return errors.New("time to retain without a lock")
	case c.SSE != "" && c.SSE != "AES256" && c.SSE != "aws:kms":
		return fmt.Errorf("encryption %q: want AES256 or aws:kms", c.SSE)
	case c.KMSKeyID != "" && c.SSE != "aws:kms":
		return errors.New("KMS key without encryption aws:kms")
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return errors.New("access key and secret key: one of them is missing")
	}
	return nil
}

// host splits the endpoint into what the client wants.
func (c Config) host() (host string, secure bool, err error) {
	if c.Endpoint == "" {
		return "s3.amazonaws.com", true, nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return "", false, errors.New("endpoint cannot be read: want https://host:port")
	}
	switch {
	case u.User != nil:
		return "", false, hinted{errors.New("endpoint holds a user or a secret"), "credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"}
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", false, fmt.Errorf("endpoint %s has more than a host and a port", u.Host)
	case u.Scheme == "https":
		return u.Host, true, nil
	case u.Scheme == "http" && loopback(u.Hostname()):
		return u.Host, false, nil
	case u.Scheme == "http":
		return "", false, hinted{fmt.Errorf("endpoint %s is not encrypted", u.Host), "evidence leaves this machine over https only; an authority of your own is named by IRKIT_S3_CA"}
	}
	return "", false, fmt.Errorf("endpoint %s: want https://", u.Host)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// patience and stall with their defaults.
func (c Config) patience() time.Duration {
	if c.Patience == 0 {
		return 15 * time.Second
	}
	return c.Patience
}

func (c Config) stall() time.Duration {
	if c.Stall == 0 {
		return 45 * time.Second
	}
	return c.Stall
}
