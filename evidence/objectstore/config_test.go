package objectstore_test

import (
	"strings"
	"testing"
	"time"

	"irkit.dev/irkit/evidence/objectstore"
)

func TestParse(t *testing.T) {
	for in, want := range map[string][2]string{
		"s3://evidence":            {"evidence", ""},
		"s3://evidence/":           {"evidence", ""},
		"s3://evidence/a/b/":       {"evidence", "a/b"},
		"s3://evidence/team%20a/b": {"evidence", "team a/b"},
	} {
		if b, p, err := objectstore.Parse(in); err != nil || b != want[0] || p != want[1] {
			t.Errorf("Parse(%q) = %q, %q, %v; want %q", in, b, p, err, want)
		}
	}
	for _, in := range []string{"", "evidence", "s3:evidence", "https://evidence/x", "s3://", "s3://Evi_dence/x", "s3://evidence/../x", "s3://evidence/a//b",
		"s3://evidence/%00", "s3://evidence/a%5Cb", "s3://evidence?x=1", "s3://evidence#x", "s3://evidence:443/x", "s3://ev%69l\n/x"} {
		if b, p, err := objectstore.Parse(in); err == nil {
			t.Errorf("Parse(%q) = %q, %q; want an error", in, b, p)
		}
	}
	for _, in := range []string{"s3://AKIA:TOPSECRET@evidence/x", "s3://TOPSECRET@evidence", "s3://AKIA:TOPSECRET%zz@evidence"} {
		if _, _, err := objectstore.Parse(in); err == nil || strings.Contains(err.Error()+hint(err), "TOPSECRET") {
			t.Errorf("Parse(%q): %v; want an error that does not repeat the secret", in, err)
		}
	}
}

func TestFromEnv(t *testing.T) {
	env := map[string]string{"AWS_ENDPOINT_URL": "https://c", "AWS_ENDPOINT_URL_S3": "https://b", "AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S",
		"AWS_REGION": "sa-east-1", "IRKIT_S3_CA": "/ca", "IRKIT_S3_LOCK": "compliance", "IRKIT_S3_RETAIN": "1825d", "IRKIT_S3_LEGAL_HOLD": "true"}
	lookup := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	c, err := objectstore.FromEnv(lookup)
	if err != nil {
		t.Fatal(err)
	}
	if c.Endpoint != "https://b" || c.AccessKey != "K" || c.SecretKey != "S" || c.Region != "sa-east-1" || c.CAFile != "/ca" ||
		c.Lock != objectstore.Compliance || c.Retain != 1825*24*time.Hour || !c.LegalHold {
		t.Errorf("FromEnv gives %+v", c)
	}
	env["IRKIT_S3_ENDPOINT"] = "https://a"
	if c, _ := objectstore.FromEnv(lookup); c.Endpoint != "https://a" {
		t.Errorf("endpoint %q, want irkit's own name to win", c.Endpoint)
	}
	for k, v := range map[string]string{"IRKIT_S3_RETAIN": "5 years", "IRKIT_S3_LEGAL_HOLD": "perhaps"} {
		old := env[k]
		env[k] = v
		if _, err := objectstore.FromEnv(lookup); err == nil || !strings.Contains(err.Error(), k) {
			t.Errorf("%s=%s: %v, want an error that names it", k, v, err)
		}
		env[k] = old
	}
}

func TestConfigRefused(t *testing.T) {
	good := objectstore.Config{Bucket: "evidence", Endpoint: "https://127.0.0.1:1", AccessKey: "K", SecretKey: "S"}
	for name, change := range map[string]func(*objectstore.Config){
		"lock without time": func(c *objectstore.Config) { c.Lock = objectstore.Governance },
		"time without lock": func(c *objectstore.Config) { c.Retain = time.Hour },
		"unknown lock":      func(c *objectstore.Config) { c.Lock, c.Retain = "FOREVER", time.Hour },
		"unknown sse":       func(c *objectstore.Config) { c.SSE = "rot13" },
		"half a credential": func(c *objectstore.Config) { c.SecretKey = "" },
		"plain http":        func(c *objectstore.Config) { c.Endpoint = "http://s3.example.com" },
		"secret in url":     func(c *objectstore.Config) { c.Endpoint = "https://K:TOPSECRET@s3.example.com" },
		"path in endpoint":  func(c *objectstore.Config) { c.Endpoint = "https://s3.example.com/evidence" },
		"no scheme":         func(c *objectstore.Config) { c.Endpoint = "s3.example.com" },
		"missing authority": func(c *objectstore.Config) { c.CAFile = "/nonexistent/ca.pem" },
		"hostile prefix":    func(c *objectstore.Config) { c.Prefix = "../x" },
	} {
		c := good
		change(&c)
		if _, err := objectstore.Open(t.Context(), c); err == nil || strings.Contains(err.Error(), "TOPSECRET") || strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%s: %v, want a refusal before anything is sent", name, err)
		}
	}
}
