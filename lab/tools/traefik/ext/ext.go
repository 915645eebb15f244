// Package ext stands in for the module that Traefik takes from its own tree by a relative path, and
// which is therefore in no registry: the two types that its configuration embeds, with nothing in them.
package ext

// HTTP adds nothing to the HTTP configuration.
type HTTP struct{}

// Router adds nothing to a router.
type Router struct{}
