// Package http01 would answer challenges by an HTTP request.
package http01

import "time"

// PathPrefix is where such requests go.
const PathPrefix = "/.well-known/acme-challenge/"

// ChallengeOption changes how; none does anything here.
type ChallengeOption func()

// SetDelay does nothing.
func SetDelay(time.Duration) ChallengeOption { return func() {} }
