// Package log has the logger that Traefik sets and nothing uses.
package log

// Logger would be told what the client does.
var Logger any
