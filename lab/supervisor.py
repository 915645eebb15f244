"""One lab from the inside: process 1 of its PID namespace, in its own network namespace.

Lives here: which programs make up a lab, with which settings and in which order, and what happens
when one dies. How a lab is made, found and removed from the outside is `lab/cluster.py`'s work.
Nothing here tidies up: when process 1 ends, the kernel kills the others and drops both namespaces.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import sys
import threading
from pathlib import Path

import requests
import yaml

from lab import tools, traefik
from lab.crew import Crew, LabFailed, run, until
from lab.objects import SERVER, Api, apply_kinds, connect, documents, established, true

HERE = Path(__file__).resolve().parent
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NODE_ADDRESS = "10.44.0.1"
KUBERNETES_CLUSTER_IP = "10.96.0.1"
PARTS = ("kubelet", "forwarder", "prometheus", "gateway")
OPTIONAL_PARTS = ("traefik",)
"""Not in a lab unless it is asked for; each needs all of PARTS."""
IDENTITIES = {"admin": "system:masters", "viewer": "", "deployer": "", "stranger": ""}
# What a Deployment, its traffic and its disposal need, and no volume, node or certificate business.
CONTROLLERS = (
    "clusterrole-aggregation-controller", "cronjob-controller", "daemonset-controller",
    "deployment-controller", "disruption-controller", "endpoints-controller",
    "endpointslice-controller", "endpointslice-mirroring-controller", "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller", "job-controller", "namespace-controller",
    "pod-garbage-collector-controller", "replicaset-controller", "resourcequota-controller",
    "root-ca-certificate-publisher-controller", "serviceaccount-controller",
    "serviceaccount-token-controller", "statefulset-controller", "ttl-after-finished-controller",
    "validatingadmissionpolicy-status-controller",
)  # fmt: skip


def network() -> None:
    """Make every address of the pods, and every ClusterIP, one that a process can listen on."""
    run("ip", "link", "set", "lo", "up")
    for block in ("10.44.0.0/16", "10.96.0.0/16"):
        run("ip", "address", "add", block, "dev", "lo")


def run_folder() -> None:
    """An empty /var/run for the lab's programs, in which the kubelet can mount a service account where all
    clients look for it. The mount is the lab's own: nothing is written to the machine's."""
    run("mount", "-t", "tmpfs", "tmpfs", os.path.realpath("/var/run"))
    SERVICE_ACCOUNT.mkdir(parents=True)


def credentials(directory: Path) -> None:
    """One key pair for TLS and service accounts, a token for each identity, and the kubeconfig."""
    names = "IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc"
    names += f",IP:{NODE_ADDRESS},IP:{KUBERNETES_CLUSTER_IP}"
    key, certificate = directory / "key.pem", directory / "ca.pem"
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=lab"),
        *("-keyout", str(key), "-out", str(certificate), "-addext", f"subjectAltName={names}"),
        *("-addext", "keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign"),
    )
    key.chmod(0o600)
    tokens = {name: secrets.token_hex(16) for name in IDENTITIES}
    lines = (f'{tokens[name]},{name},{name},"{group}"\n' for name, group in IDENTITIES.items())
    (directory / "tokens.csv").write_text("".join(lines))
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": SERVER, "certificate-authority": str(certificate)}}],
        "users": [{"name": name, "user": {"token": token}} for name, token in tokens.items()],
        "contexts": [
            {"name": "lab" if name == "admin" else name, "context": {"cluster": "lab", "user": name}}
            for name in IDENTITIES
        ],
    }
    (directory / "kubeconfig").write_text(yaml.safe_dump(config, sort_keys=False))


def start_control_plane(crew: Crew, api: Api) -> None:
    """etcd, the API server and the controllers, set up to be quick rather than safe."""
    home = crew.directory
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    crew.start(
        *("etcd", tools.binary("etcd"), "--data-dir", home / "etcd", "--unsafe-no-fsync"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", f"default={peer}", "--log-level", "warn"),
    )
    crew.start(
        *("kube-apiserver", tools.binary("kube-apiserver"), "--etcd-servers", client),
        *("--tls-cert-file", home / "ca.pem", "--tls-private-key-file", home / "key.pem"),
        *("--service-account-issuer", "https://kubernetes.default.svc"),
        *("--service-account-key-file", home / "key.pem"),
        *("--service-account-signing-key-file", home / "key.pem"),
        *("--token-auth-file", home / "tokens.csv", "--authorization-mode", "RBAC"),
        *("--service-cluster-ip-range", "10.96.0.0/16", "--secure-port", "6443"),
        *("--advertise-address", NODE_ADDRESS, "--profiling=false"),
        *("--event-ttl", "30m", "--delete-collection-workers", "4"),
    )
    until(crew, "etcd", lambda: _answers("http://127.0.0.1:2379/health"))
    until(crew, "kube-apiserver", lambda: api.ok("/readyz"))
    crew.start(
        *("kube-controller-manager", tools.binary("kube-controller-manager")),
        *("--kubeconfig", home / "kubeconfig", "--leader-elect=false", "--profiling=false"),
        *("--service-account-private-key-file", home / "key.pem", "--root-ca-file", home / "ca.pem"),
        *("--controllers", ",".join(CONTROLLERS), "--kube-api-qps", "500", "--kube-api-burst", "1000"),
        # Traffic must follow a pod's readiness at once: the walk's steps last seconds here.
        *("--endpointslice-updates-batch-period", "0s", "--endpoint-updates-batch-period", "0s"),
        *("--concurrent-service-endpoint-syncs", "10", "--concurrent-endpoint-syncs", "10"),
        *("--horizontal-pod-autoscaler-sync-period", "2s", "--bind-address", "127.0.0.1"),
    )


def _answers(url: str) -> bool:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=2).ok


def apply_crds(crew: Crew, api: Api, parts: set[str]) -> None:
    """Contour's, the Gateway API's and perhaps Traefik's kinds, applied and then served."""
    crew.note("custom resources", "starting")
    paths = [tools.data("contour", "crds/contour.yaml")]
    paths += traefik.kinds() if "traefik" in parts else [tools.data("contour", "crds/gateway-api")]
    apply_kinds(api, paths)
    until(crew, "custom resources", lambda: established(api))


def start_prometheus(crew: Crew, scrape_seconds: float) -> None:
    every = f"{round(scrape_seconds * 1000)}ms"
    jobs = {
        "envoy": {"metrics_path": "/stats/prometheus", "port": 8002},
        "contour": {"metrics_path": "/metrics", "port": 8000},
    }
    pods = crew.directory / "pods" / "targets.json"
    pods.parent.mkdir(exist_ok=True)  # Prometheus watches the folder, and the kubelet may be later
    config = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        # Rules come later: whoever writes one there asks for `/-/reload`.
        "rule_files": [str(crew.directory / "rules" / "*.yaml")],
        "scrape_configs": [
            {"job_name": "pods", "file_sd_configs": [{"files": [str(pods)]}]},
            *(
                {
                    "job_name": name,
                    "metrics_path": job["metrics_path"],
                    "static_configs": [{"targets": [f"{NODE_ADDRESS}:{job['port']}"]}],
                }
                for name, job in jobs.items()
            ),
        ],
    }
    file = crew.directory / "prometheus.yaml"
    file.write_text(yaml.safe_dump(config))
    crew.start(
        *("prometheus", tools.binary("prometheus"), f"--config.file={file}", "--log.level=warn"),
        *(f"--storage.tsdb.path={crew.directory / 'prometheus'}", "--web.listen-address=127.0.0.1:9090"),
        "--web.enable-lifecycle",
    )


def bring_up(crew: Crew, parts: set[str], scrape_seconds: float) -> None:
    network()
    run_folder()
    credentials(crew.directory)
    kubeconfig = crew.directory / "kubeconfig"
    api = connect(kubeconfig)
    threading.Thread(target=crew.watch, daemon=True).start()
    start_control_plane(crew, api)
    start_parts(crew, kubeconfig, parts, scrape_seconds)
    if "gateway" in parts:
        apply_crds(crew, api, parts)
    for file in sorted((HERE / "manifests").glob("*.yaml")):
        if "gateway" in parts or file.name.startswith("10"):
            for document in documents(file, kubeconfig=str(kubeconfig)):
                api.apply(document)
    if "traefik" in parts:
        crew.note("traefik", "starting")
        traefik.apply(api)
    await_parts(crew, api, parts)


def start_parts(crew: Crew, kubeconfig: Path, parts: set[str], scrape_seconds: float) -> None:
    if "kubelet" in parts:
        crew.start(
            *("kubelet", sys.executable, "-m", "lab.kubelet", "--kubeconfig", kubeconfig),
            *("--images", HERE / "images.toml", "--directory", crew.directory / "pods"),
            *("--node", "lab", "--address", NODE_ADDRESS, "--api-address", KUBERNETES_CLUSTER_IP),
        )
    if "forwarder" in parts:
        crew.start("forwarder", sys.executable, "-m", "lab.forwarder", "--kubeconfig", kubeconfig)
    if "prometheus" in parts:
        start_prometheus(crew, scrape_seconds)


def await_parts(crew: Crew, api: Api, parts: set[str]) -> None:
    """Each part has done its first work: only then is the lab ready."""
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    until(crew, "kube-controller-manager", lambda: api.ok(account))
    if "prometheus" in parts:
        until(crew, "prometheus", lambda: _answers("http://127.0.0.1:9090/-/ready"))
    if "kubelet" in parts:
        until(crew, "kubelet", lambda: api.ok("/api/v1/nodes/lab"))
    if "forwarder" in parts:
        until(crew, "forwarder", lambda: _accepts(KUBERNETES_CLUSTER_IP, 443))
    if {"gateway", "kubelet"} <= parts:
        crew.note("gateway", "starting")
        path = "/apis/gateway.networking.k8s.io/v1/namespaces/infra/gateways/public"
        until(crew, "gateway", lambda: true(api.get(path), "Programmed"))
        until(crew, "gateway", lambda: _answers(f"http://{NODE_ADDRESS}:8002/ready"))
    if "traefik" in parts:
        until(crew, "traefik", lambda: traefik.serves(api))


def _accepts(address: str, port: int) -> bool:
    with socket.create_connection((address, port), timeout=2):
        return True


def main() -> int:
    # Process 1 hears no signal that it has no handler for, and has nothing to tidy up.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    parser = argparse.ArgumentParser(prog="lab.supervisor")
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--scrape-seconds", type=float, default=1.0)
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    # Whoever starts a lab says "go" once it has written down our process id: a lab that nobody
    # knows of must not come up.
    if not sys.stdin.readline():
        return 1
    crew = Crew(options.directory)
    try:
        bring_up(crew, set(filter(None, options.parts.split(","))), options.scrape_seconds)
    except (LabFailed, tools.SetupError, requests.RequestException) as error:
        (options.directory / "failed").write_text(f"{error}")
        os._exit(1)
    (options.directory / "ready").touch()
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
