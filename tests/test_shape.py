"""The shape of the tree: which way dependencies point, how long files are, what every file has.

Read from the sources with `ast`, so that nothing is imported here but what is asked about.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pytest
import yaml

from docs import generate
from pulumi_rollout.core.gates import TESTS
from pulumi_rollout.metrics import PROXIES, SOURCES
from pulumi_rollout.routers import ROUTERS

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
PRODUCT = ("pulumi_rollout", "components")
MOST_LINES = 300
LEAST_FIXTURES = 3
# Routers that can shift traffic; the one of Kubernetes alone has no objects that could be shown.
ABLE = [name for name, router in ROUTERS.items() if router.STRATEGIES]

# What each package may import of ours, from the top down. A module that is not named may import
# what the package it lives in may.
ALLOWED = {
    "pulumi_rollout.errors": (),
    "pulumi_rollout.core": ("pulumi_rollout.core", "pulumi_rollout.errors"),
    "pulumi_rollout.routers": ("pulumi_rollout.core.targets", "pulumi_rollout.routers"),
    "pulumi_rollout.metrics": (
        "pulumi_rollout.core.counts",
        "pulumi_rollout.core.measures",
        "pulumi_rollout.core.sources_written",
        "pulumi_rollout.core.targets",
        "pulumi_rollout.metrics",
    ),
    "pulumi_rollout.simulate": ("pulumi_rollout.core", "pulumi_rollout.simulate"),
    "pulumi_rollout.inputs": ("pulumi_rollout.core.targets",),
    "pulumi_rollout.origin": (),
    "pulumi_rollout.engine": (),
    "pulumi_rollout.patches": (),
    "pulumi_rollout.parts": (
        "pulumi_rollout.core.targets",
        "pulumi_rollout.inputs",
        "pulumi_rollout.gitops",
        "pulumi_rollout.patches",
        "pulumi_rollout.routers",
    ),
    "pulumi_rollout.gitops": (),
    "pulumi_rollout.adoption": ("pulumi_rollout.inputs",),
    "pulumi_rollout.tell": ("pulumi_rollout.core",),
    "pulumi_rollout": ("pulumi_rollout",),
    "components": ("components", "pulumi_rollout"),
}
# Of other people's, by package; everything else may import what it declares in pyproject.toml.
PURE = {
    "pulumi_rollout.core": {"pydantic"},
    "pulumi_rollout.routers": set(),
    "pulumi_rollout.metrics": {"prometheus_client"},
    "pulumi_rollout.simulate": set(),
    "pulumi_rollout.errors": set(),
    "pulumi_rollout.inputs": {"pydantic"},
    "pulumi_rollout.adoption": set(),
    "pulumi_rollout.gitops": set(),
    "pulumi_rollout.parts": set(),
    "pulumi_rollout.patches": set(),
    "pulumi_rollout.tell": set(),
}
# The order of the files that are executed: each may import those after it, never those before.
ORDER = (
    "cli",
    "provider",
    "release",
    "driver",
    "guard",
    "parts",
    "events",
    "tell",
    "perform",
    "lock",
    "control",
    "journal",
    "observe",
    "readings",
    "expiry",
    "cluster",
    "http",
    "patches",
    "adoption",
    "gitops",
    "origin",
    "engine",
    "inputs",
    "errors",
)
# With their own times, these would make a decision depend on more than its inputs.
IMPURE = {
    "time",
    "datetime",
    "random",
    "logging",
    "os",
    "pathlib",
    "socket",
    "subprocess",
    "threading",
    "urllib.request",
}
# Chance is what a simulation is made of; it comes from a seed.
SEEDED = {"pulumi_rollout.simulate": {"random"}}


def name_of(path: Path) -> str:
    """The module's dotted name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def tracked() -> list[Path]:
    """Every file that git knows or would add, so that tools and caches are left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def imports(path: Path, *, at_import_time: bool = False) -> set[str]:
    """The modules that a file imports, relative ones resolved; only the top level if so asked."""
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in tree(path).body if at_import_time else ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            # `from package import module` names a module too
            found |= {
                f"{module}.{alias.name}" if _is_module(ROOT / module.replace(".", "/") / alias.name) else module
                for alias in node.names
            }
    return found


def _is_module(path: Path) -> bool:
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def rule_of(module: str, rules: dict[str, T]) -> T | None:
    """The rule of the nearest package."""
    return next((rules[package] for package in sorted(rules, key=len, reverse=True) if inside(module, package)), None)


product = pytest.mark.parametrize("path", files(*PRODUCT), ids=name_of)


@product
def test_dependencies_point_one_way(path: Path) -> None:
    ours = {
        module for module in imports(path) if module.split(".")[0] in (*PRODUCT, "lab", "tests", "docs", "policies")
    }
    allowed = rule_of(name_of(path), ALLOWED) or ()
    assert {module for module in ours if not any(inside(module, package) for package in allowed)} == set()


@product
def test_pure_packages_import_no_library(path: Path) -> None:
    libraries = rule_of(name_of(path), PURE)
    if libraries is None:
        return
    foreign = {module.split(".")[0] for module in imports(path)} - set(sys.stdlib_module_names) - {"pulumi_rollout"}
    assert foreign - libraries == set()
    assert imports(path) & (IMPURE - SEEDED.get(".".join(name_of(path).split(".")[:2]), set())) == set()


@pytest.mark.parametrize("vendors", [ROUTERS, SOURCES], ids=["routers", "metrics"])
def test_vendors_do_not_import_each_other(vendors: dict[str, ModuleType]) -> None:
    modules = {module.__name__: ROOT / f"{module.__name__.replace('.', '/')}.py" for module in vendors.values()}
    assert modules
    for name, path in modules.items():
        assert imports(path) & modules.keys() - {name} == set(), name


def test_the_order_of_metrics() -> None:
    """shapes, proxies, history -> nothing; owners -> those; series -> owners; selectors, alerts -> series; sources ->
    all of them."""
    package = "pulumi_rollout.metrics"
    found = {
        path.stem: {module.removeprefix(f"{package}.") for module in imports(path) if inside(module, package)}
        for path in files("pulumi_rollout/metrics")
    }
    found = {name: {module for module in modules if module != package} for name, modules in found.items()}
    assert {name: found[name] for name in found if name not in {"__init__", *SOURCES}} == {
        "shapes": set(),
        "proxies": set(),
        "history": set(),
        "owners": {"proxies", "shapes"},
        "series": {"history", "owners", "proxies", "shapes"},
        "selectors": {"owners", "proxies", "series", "shapes"},
        "alerts": {"series", "shapes"},
    }


def test_what_is_executed_is_in_order() -> None:
    """cli, provider -> release -> driver -> what it uses -> cluster, http -> inputs -> errors."""
    for position, name in enumerate(ORDER):
        for path in found_of(name):
            earlier = [f"pulumi_rollout.{other}" for other in ORDER[:position]]
            assert not any(inside(module, one) for module in imports(path) for one in earlier), name


def found_of(name: str) -> list[Path]:
    """The files of a module or of a package."""
    path = ROOT / "pulumi_rollout" / name
    return sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def test_the_order_names_every_file() -> None:
    there = {path.stem for path in (ROOT / "pulumi_rollout").glob("*.py")} - {"__init__", "__main__"}
    assert there == set(ORDER) - {"cli"}


def test_no_release_imports_the_simulation() -> None:
    """It is for people who ask what a policy would do."""
    asks = {f"pulumi_rollout.cli.{name}" for name in ("simulate", "world", "render")}
    for path in files("pulumi_rollout", "components"):
        if not inside(name_of(path), "pulumi_rollout.simulate") and name_of(path) not in asks:
            assert not any(inside(module, "pulumi_rollout.simulate") for module in imports(path)), name_of(path)


def test_those_that_write_know_nothing_of_each_other() -> None:
    """The lock, the commands, the journal, the guard: only what puts them together knows them all."""
    apart = {f"pulumi_rollout.{name}" for name in ("lock", "control", "journal", "guard", "events", "perform")}
    for name in sorted(apart):
        path = ROOT / f"{name.replace('.', '/')}.py"
        assert imports(path) & (apart - {name}) == set(), name


# In core, each may import those after it, never those before; of `gates`, only what is named.
ORDER_OF_CORE = (
    *("strategies", "gates_written", "sources_written", "written"),
    *("forecast", "propagation", "machine", "commands", "conditions", "judging", "moves", "state"),
    "gates",
    *("gates.objective", "gates.baseline", "gates.share", "gates.stalled", "gates.events"),
    *("gates.failing", "gates.outage", "gates.windows", "gates.verdict"),
    *("plan", "measures", "counts", "targets"),
    *("arithmetic", "shares", "comparison", "splits", "bursts", "evidence", "model"),
)
# The formulas, which know no plan and no gate.
FORMULAS = {"arithmetic", "bursts", "comparison", "evidence", "shares", "splits"}


@cache
def imports_of_core() -> dict[str, set[str]]:
    """What each module of core imports of core."""
    core = "pulumi_rollout.core"
    found = {
        name_of(path).removeprefix(f"{core}."): {
            module.removeprefix(f"{core}.") for module in imports(path) if inside(module, core)
        }
        for path in files("pulumi_rollout/core")
    }
    return {name: modules for name, modules in found.items() if name != core}


def test_the_order_of_core() -> None:
    """What is written -> plan; machine -> what it asks -> gates -> plan; the formulas -> nothing but each other."""
    found = imports_of_core()
    assert set(found) == set(ORDER_OF_CORE)
    for name, modules in found.items():
        earlier = ORDER_OF_CORE[: ORDER_OF_CORE.index(name)]
        assert modules & set(earlier) == set(), name


def test_the_formulas_know_no_gate() -> None:
    found = imports_of_core()
    for name in sorted(FORMULAS):
        assert found[name] <= FORMULAS | {"model"}, name


def test_the_kinds_of_tests_do_not_import_each_other() -> None:
    kinds = {str(vars(module)["__name__"]).removeprefix("pulumi_rollout.core.") for module in TESTS.values()}
    assert len(kinds) == 5
    for name in sorted(kinds):
        assert imports_of_core()[name] & kinds == set(), name


def test_what_users_write_knows_no_walk() -> None:
    """And the walk does not know how it was written."""
    written = {"strategies", "gates_written", "sources_written", "written"}
    walk = {"machine", "commands", "conditions", "judging", "moves", "state", "gates"}
    for name, modules in imports_of_core().items():
        if name in written:
            assert modules & walk == set(), name
        else:
            assert modules & written == set(), name


def test_the_parser_of_metrics_is_imported_where_it_is_used() -> None:
    """Only by the source that reads its format, and only when there is something to read."""
    using = [path for path in files(*PRODUCT) if any(inside(one, "prometheus_client") for one in imports(path))]
    assert [name_of(path) for path in using] == ["pulumi_rollout.metrics.direct"]
    assert not any(inside(one, "prometheus_client") for one in imports(using[0], at_import_time=True))


def test_the_provider_is_quick_to_import() -> None:
    """Every rollout has a process of its own: what is slow to import is imported where it is used."""
    slow = ("kubernetes", "requests", "pulumi_kubernetes", "prometheus_client", "components", "rich", "typer")
    code = f"import sys, pulumi_rollout.provider; print(*[name for name in {slow!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", files(*PRODUCT, "lab"), ids=name_of)
def test_no_file_is_longer_than_an_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", files(*PRODUCT, "lab", "tests", "docs", "policies", "bench"), ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    if path.name == "__init__.py" and not path.read_text().strip():
        return
    docstring = ast.get_docstring(tree(path))
    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", "?", ";", ",")) or len(docstring.splitlines()) > 1


@product
def test_no_assert_in_the_product(path: Path) -> None:
    """python -O removes them; what must hold is an error, or a type."""
    assert [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.Assert)] == []


@product
def test_public_functions_say_what_they_do(path: Path) -> None:
    kinds = (ast.FunctionDef, ast.ClassDef)
    silent = [
        node.name
        for node in tree(path).body
        if isinstance(node, kinds) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert silent == []


def test_there_is_no_drawer_for_everything() -> None:
    names = {path.stem for path in tracked() if path.suffix == ".py"}
    assert names & {"utils", "util", "helpers", "common", "misc"} == set()


def test_no_path_of_this_machine() -> None:
    """Neither a home nor a working directory; what a test needs there is taken from where it runs."""
    local = re.compile(rb"(?<![\w.])/(?:root|work|home/\w+|Users/\w+)/")
    found = []
    for path in tracked():
        if path != Path(__file__) and path.suffix not in {".txt", ".png", ".svg", ".woff2"}:
            found += [
                f"{path.relative_to(ROOT)}: {line!r}" for line in path.read_bytes().splitlines() if local.search(line)
            ]
    assert found == []


def test_no_test_is_left_out() -> None:
    """A skip, an expected failure and a rerun all hide that something does not work."""
    marks = re.compile(r"pytest\.(skip|xfail|importorskip)|mark\.(skip|skipif|xfail|flaky)|@unittest\.skip")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files("tests")
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("router", ABLE)
def test_every_router_has_fixtures(router: str) -> None:
    assert len(list((ROOT / "tests" / "routers" / router).glob("*.yaml"))) >= LEAST_FIXTURES


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_has_fixtures_an_error_and_an_empty_answer(source: str) -> None:
    found = {path.stem: path.read_text() for path in (ROOT / "tests" / "metrics" / source).glob("*.yaml")}
    assert len(found) >= LEAST_FIXTURES
    assert any(name.startswith("error") and "no_data:" in text for name, text in found.items())
    assert any(name.startswith("empty") for name in found)


def proxies_of(source: str) -> set[str]:
    """Those that a source's fixtures are about."""
    found = (yaml.safe_load(path.read_text()) for path in (ROOT / "tests" / "metrics" / source).glob("*.yaml"))
    return {fixture.get("proxy", "contour") for fixture in found}


def test_every_proxy_has_fixtures() -> None:
    """Of a server for all of them, of pods for those whose pods are known."""
    assert proxies_of("prometheus") >= set(PROXIES)
    assert proxies_of("direct") >= {name for name, proxy in PROXIES.items() if proxy.direct is not None}


@pytest.mark.parametrize("folder", ["routers", "metrics"])
def test_no_fixture_is_of_an_unknown_vendor(folder: str) -> None:
    known = ABLE if folder == "routers" else SOURCES
    assert {path.name for path in (ROOT / "tests" / folder).iterdir() if path.is_dir()} - {"__pycache__"} == set(known)


@pytest.mark.parametrize("page", generate.PAGES)
def test_generated_pages_are_up_to_date(page: str) -> None:
    assert (ROOT / "docs" / page).read_text() == generate.PAGES[page](), "run `python -m docs.generate`"


def test_the_generator_tells_what_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "HERE", tmp_path)
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err == (
        "out of date: docs/states.md, docs/plan.schema.json, docs/routers.md, docs/gates.md, docs/metrics.md, "
        "docs/benchmarks.md, docs/benchmarks.svg; run `python -m docs.generate`\n"
    )
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "states.md").write_text("old")
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err == "out of date: docs/states.md; run `python -m docs.generate`\n"
