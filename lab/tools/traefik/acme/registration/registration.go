// Package registration would register accounts.
package registration

import (
	"crypto"

	"github.com/go-acme/lego/v4/challenge"
)

// Resource is an account as its authority knows it; Traefik looks at its address.
type Resource struct {
	URI string `json:"uri,omitempty"`
}

// User is an account as its owner knows it.
type User interface {
	GetEmail() string
	GetRegistration() *Resource
	GetPrivateKey() crypto.PrivateKey
}

// RegisterOptions says how to register.
type RegisterOptions struct {
	TermsOfServiceAgreed bool
}

// RegisterEABOptions says how to register with an account of another kind.
type RegisterEABOptions struct {
	TermsOfServiceAgreed bool
	Kid                  string
	HmacEncoded          string
}

// Registrar would do it.
type Registrar struct{}

// Register refuses.
func (Registrar) Register(RegisterOptions) (*Resource, error) { return nil, challenge.ErrAbsent }

// RegisterWithExternalAccountBinding refuses.
func (Registrar) RegisterWithExternalAccountBinding(RegisterEABOptions) (*Resource, error) {
	return nil, challenge.ErrAbsent
}
