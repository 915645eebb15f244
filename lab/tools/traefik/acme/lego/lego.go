// Package lego is where an ACME client would be. The lab's Traefik gets no certificates, and the real
// one brings the SDKs of all vendors of name servers: a third of Traefik's build and most of its size.
// The packages beside this one hold the names that Traefik's own code mentions, and no more.
package lego

import (
	"crypto/x509"
	"net/http"
	"time"

	"github.com/go-acme/lego/v4/certcrypto"
	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/challenge"
	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/go-acme/lego/v4/challenge/http01"
	"github.com/go-acme/lego/v4/challenge/tlsalpn01"
	"github.com/go-acme/lego/v4/registration"
)

// LEDirectoryProduction is the address that Traefik has as a default, and that is never asked here.
const LEDirectoryProduction = "https://acme-v02.api.letsencrypt.org/directory"

// CertificateConfig is the part of a Config about certificates.
type CertificateConfig struct {
	KeyType           certcrypto.KeyType
	Timeout           time.Duration
	DisableCommonName bool
}

// Config is what a client would be made from.
type Config struct {
	CADirURL    string
	UserAgent   string
	HTTPClient  *http.Client
	Certificate CertificateConfig
}

// NewConfig makes an empty one.
func NewConfig(registration.User) *Config { return &Config{} }

// Solvers would solve challenges.
type Solvers struct{}

// SetDNS01Provider refuses.
func (Solvers) SetDNS01Provider(challenge.Provider, ...dns01.ChallengeOption) error {
	return challenge.ErrAbsent
}

// SetHTTP01Provider refuses.
func (Solvers) SetHTTP01Provider(challenge.Provider, ...http01.ChallengeOption) error {
	return challenge.ErrAbsent
}

// SetTLSALPN01Provider refuses.
func (Solvers) SetTLSALPN01Provider(challenge.Provider, ...tlsalpn01.ChallengeOption) error {
	return challenge.ErrAbsent
}

// Client would talk to a certificate authority.
type Client struct {
	Certificate  certificate.Certifier
	Challenge    Solvers
	Registration registration.Registrar
}

// NewClient refuses.
func NewClient(*Config) (*Client, error) { return nil, challenge.ErrAbsent }

// CreateCertPool refuses.
func CreateCertPool([]string, bool) (*x509.CertPool, error) { return nil, challenge.ErrAbsent }
