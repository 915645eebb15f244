"""The program: applications from the stack's configuration, released step by step.

A program of your own needs no more than `Application(...)`: see README.md.
"""

import pulumi

from components import Application
from components.settings import applications

config = pulumi.Config()
kubeconfig, context = config.get_secret("kubeconfig"), config.get("context")
released = {
    name: Application(name, kubeconfig=kubeconfig, context=context, **arguments)
    for name, arguments in applications(config).items()
}
# From the Rollouts' outputs: after a failed update, a value of the program's own would be the new one.
pulumi.export("serving", {name: application.serving_revision for name, application in released.items()})
