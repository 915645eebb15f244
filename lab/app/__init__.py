"""The lab's sample application, in podinfo's place: its port, its paths, and faults on demand.

Lives here: an HTTP/1.1 server and every way in which a release can be bad. Standard library only, as
its start is part of each test's time. Nothing here knows of Kubernetes or of rollouts.

faults.py is what can be wrong, condition.py what is wrong just now, answers.py what it answers, server.py
the sockets and the end of them.
"""
