"""Tests of what programs declare, with Pulumi's mocks in place of an engine."""
