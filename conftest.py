"""For every run of pytest here: a test that was skipped, expected to fail or run again is a failure."""

from __future__ import annotations

import pytest

_not_run: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped or hasattr(report, "wasxfail") or report.outcome == "rerun":
        _not_run.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _not_run and not hasattr(session.config, "workerinput"):
        print(f"\nnot really run: {', '.join(_not_run)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
