// Package identity makes the lab's certificates and the kubeconfig files that
// use them. All of it is made anew for each life of the lab.
package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"

	"irkit.dev/irkit/lab/place"
)

// authority signs certificates, and writes them where the layout says.
type authority struct {
	layout      place.Layout
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// holder describes whom a certificate is for.
type holder struct {
	file  string // the name of its files
	name  string // CN: the user, for Kubernetes
	group string // O: the group
	names []string
	ips   []string
}

func newAuthority(layout place.Layout) (*authority, error) {
	a := &authority{layout: layout}
	template := template(pkix.Name{CommonName: "irkit-lab"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a.certificate, a.key = template, key
	return a, a.issue("ca", template, key)
}

// sign makes a key and a certificate that serves as server and as client.
func (a *authority) sign(h holder) error {
	subject := pkix.Name{CommonName: h.name}
	if h.group != "" {
		subject.Organization = []string{h.group}
	}
	template := template(subject)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(h.ips)+len(h.names) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	template.DNSNames = h.names
	for _, ip := range h.ips {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return a.issue(h.file, template, key)
}

func (a *authority) issue(file string, template *x509.Certificate, key *ecdsa.PrivateKey) error {
	signed, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("cannot sign %s: %w", file, err)
	}
	if err := writePEM(a.layout.Certificate(file), "CERTIFICATE", signed, 0o644); err != nil {
		return err
	}
	return writeKey(a.layout.Key(file), key)
}

func template(subject pkix.Name) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      subject,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(0, 1, 0),
	}
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode)
}
