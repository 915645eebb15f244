"""Stand-in for `pulumi-resource-kubernetes`: the provider protocol over a real API server.

Lives here: the behaviour that docs/stand-ins.md lists, file by file: `values` (property bags), `diff`,
`api` (HTTP), `apply` (create, update, delete), `readiness` and `waiting`, `session` and `provider` (the
gRPC service). Its messages are its own.
Not here: anything that the official plugin does not do. It is used only where that one is missing.
"""
