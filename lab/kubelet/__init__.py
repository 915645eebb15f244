"""The lab's kubelet: pods of one node as processes of this machine, without containers.

Lives here: binding, addresses, volumes, environment, probes, restarts, status and termination, as far as
a rollout can tell the difference. Not here: init containers, persistent volumes, resource limits, logs
and exec through the API, events; a pod that asks for an unknown kind of volume says so in its status.

Containers have no file system of their own. So a volume is a real directory under the pod's directory,
and wherever a mount's path stands in the container's `command`, `args` or environment *values* (whole,
or followed by `/…`) it is replaced by that directory: `--config=/etc/app/x.yaml` becomes
`--config=<directory>/x.yaml`. Paths inside mounted files are not touched. Where the path is a directory of
this machine besides (a service account's, `/tmp`), the process has the volume mounted there as well.
"""
