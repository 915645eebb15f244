// Package tlsalpn01 would answer challenges in the TLS handshake.
package tlsalpn01

import (
	"time"

	"github.com/go-acme/lego/v4/challenge"
)

// ACMETLS1Protocol is the protocol's name in such a handshake, which Traefik looks for in all of them.
const ACMETLS1Protocol = "acme-tls/1"

// ChallengeOption changes how; none does anything here.
type ChallengeOption func()

// SetDelay does nothing.
func SetDelay(time.Duration) ChallengeOption { return func() {} }

// ChallengeBlocks refuses.
func ChallengeBlocks(string, string) ([]byte, []byte, error) { return nil, nil, challenge.ErrAbsent }
