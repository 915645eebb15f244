// For the files in these modules: nothing is compiled, so what they depend on is not listed (`go mod tidy` would
// take them away).
module lab/tools/crds

go 1.26.0

require (
	github.com/argoproj/argo-rollouts v1.10.0
	istio.io/api v1.32.0
)
