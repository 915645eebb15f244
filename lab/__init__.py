"""The lab: a whole Kubernetes cluster with a router and Prometheus on one Linux machine.

Lives here: everything that stands in for a cluster in tests and in the demo. Nothing in `lab` is
shipped with the package, and nothing that is shipped may import it.
"""
