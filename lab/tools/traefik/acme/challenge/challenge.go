// Package challenge has what all kinds of challenge share.
package challenge

import "errors"

// ErrAbsent is the answer to everything that needs an ACME client.
var ErrAbsent = errors.New("this Traefik is built without ACME")

// Provider presents the answer to a challenge.
type Provider interface {
	Present(domain, token, keyAuth string) error
	CleanUp(domain, token, keyAuth string) error
}
