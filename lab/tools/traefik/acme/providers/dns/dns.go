// Package dns would know the vendors of name servers by name.
package dns

import "github.com/go-acme/lego/v4/challenge"

// NewDNSChallengeProviderByName refuses.
func NewDNSChallengeProviderByName(string) (challenge.Provider, error) {
	return nil, challenge.ErrAbsent
}
