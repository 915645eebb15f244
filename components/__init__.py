"""Declared in a program: the application, its revisions, its routing and its canary policy.

What is executed during `pulumi up` lives in `pulumi_rollout`. Nothing here reads, writes or waits.
"""

from .application import Application
from .policy import canary as Canary
from .policy import prometheus, success_rate
from .revision import Autoscaling
from .rollout import Rollout
from .routing import GatewayRoute
from .secrets import stack_secret

__all__ = [
    "Application",
    "Autoscaling",
    "Canary",
    "GatewayRoute",
    "Rollout",
    "prometheus",
    "stack_secret",
    "success_rate",
]
