# Everything that people and CI run. `make demo` and `make test` do what they need first.
PYTHON := .venv/bin/python
LAB ?= default
# Hundreds of processes import the same modules here: compiled once, they start in half the time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup tools check test lab kills demo docs lab-up lab-down lab-status clean

setup: .venv/ready tools

.venv/ready: requirements.txt
	@python3 -m venv .venv
	@echo "installing $$(grep -c == requirements.txt) Python packages into .venv"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.txt
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --no-build-isolation --editable .
	@touch $@

tools:
	@python3 lab/tools.py

# Format, lint, types, generated pages, and every test that needs no lab.
check: .venv/ready
	.venv/bin/ruff format --check --quiet .
	.venv/bin/ruff check --quiet .
	.venv/bin/mypy pulumi_rollout components lab bench __main__.py
	$(PYTHON) -m docs.generate --check
	$(PYTHON) -m pytest -q -n 2 -m "not lab"

# All of it.
test: setup check lab

# The stories of releases in a real cluster, and the tests of that cluster itself. A file's tests stay together, in one
# of two processes with a lab each: with three on two processors, the load generators fall behind.
lab: setup
	$(PYTHON) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m lab

# SIGKILL after each single write of the journal, where `make test` takes a sample of them.
kills: setup
	ROLLOUT_KILLS=all $(PYTHON) -m pytest -q -s -m lab tests/e2e/test_kills.py --timeout 5400

# BREAK=revert takes the revert away, to show that the demo notices.
demo: setup
	@$(PYTHON) -m lab.demo $(if $(BREAK),--break $(BREAK))

docs: .venv/ready
	$(PYTHON) -m docs.generate

lab-up: setup
	@$(PYTHON) -m lab up --name $(LAB)

lab-down: .venv/ready
	@$(PYTHON) -m lab down --name $(LAB)

lab-status: .venv/ready
	@$(PYTHON) -m lab status

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
