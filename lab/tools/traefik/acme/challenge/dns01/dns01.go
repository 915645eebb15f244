// Package dns01 would answer challenges by a DNS record.
package dns01

import (
	"strings"
	"time"
)

// ChallengeOption changes how; none does anything here.
type ChallengeOption func()

// AddRecursiveNameservers does nothing.
func AddRecursiveNameservers([]string) ChallengeOption { return func() {} }

// RecursiveNSsPropagationRequirement does nothing.
func RecursiveNSsPropagationRequirement() ChallengeOption { return func() {} }

// DisableAuthoritativeNssPropagationRequirement does nothing.
func DisableAuthoritativeNssPropagationRequirement() ChallengeOption { return func() {} }

// PropagationWait does nothing.
func PropagationWait(time.Duration, bool) ChallengeOption { return func() {} }

// UnFqdn takes the last dot off a name; Traefik uses it for the names of any certificate.
func UnFqdn(name string) string { return strings.TrimSuffix(name, ".") }
