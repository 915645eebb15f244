"""Tests of the lab; those marked `lab` share one."""
