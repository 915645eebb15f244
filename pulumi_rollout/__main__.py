"""`python -m pulumi_rollout` is the command line `rollout`. Not here: any of its commands (`cli/`)."""

from pulumi_rollout.cli import main

if __name__ == "__main__":
    main()
