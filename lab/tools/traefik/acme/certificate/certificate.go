// Package certificate would obtain and renew certificates.
package certificate

import "github.com/go-acme/lego/v4/challenge"

// Resource is a certificate with its key.
type Resource struct {
	Domain      string
	PrivateKey  []byte
	Certificate []byte
}

// ObtainRequest asks for a certificate.
type ObtainRequest struct {
	Domains        []string
	EmailAddresses []string
	Profile        string
	PreferredChain string
	Bundle         bool
}

// RenewOptions says how to renew one.
type RenewOptions struct {
	EmailAddresses []string
	Profile        string
	PreferredChain string
	Bundle         bool
}

// Certifier would do both.
type Certifier struct{}

// Obtain refuses.
func (Certifier) Obtain(ObtainRequest) (*Resource, error) { return nil, challenge.ErrAbsent }

// RenewWithOptions refuses.
func (Certifier) RenewWithOptions(Resource, *RenewOptions) (*Resource, error) {
	return nil, challenge.ErrAbsent
}
