# bpflife: `make app` serves the pictures, `make test` runs everything. Needs Python 3.11 or newer;
# all else goes into .venv, and a second run installs nothing.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help app test bench lint types unit proofs verdicts kernel notebook browser clean
MAKEFLAGS += --no-print-directory --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 5006
ADDRESS ?= 127.0.0.1
PYTEST := $(BIN)/python -m pytest -q

# The first Python that is new enough and runs (a shim of a version manager may not).
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && \
	{ echo $$p; break; }; done)

# A .venv that was copied or moved, or whose Python is gone, is made anew.
ifneq ($(wildcard $(VENV)/made),)
ifneq ($(shell $(BIN)/python -c 'import sys; print(sys.prefix)' 2>/dev/null; cat $(VENV)/made),$(CURDIR)/$(VENV) $(CURDIR))
$(shell rm -f $(VENV)/made)
endif
endif

# pip with its progress in one line per package. Its warnings are shown, but for the one about an
# index of yours that lacks a package which another one has.
PIP := $(BIN)/python -m pip --disable-pip-version-check
SHOW := 2> >(sed -u '/^WARNING: Location .* is ignored/d' >&2) | sed -unE \
	-e '/\.metadata/d' \
	-e 's/^ *(Downloading|Using cached) ([^ ]+)(-py[^ ]*|-cp[^ ]*)\.whl(.*)/  \2\4/p' \
	-e 's/^Installing collected packages: .*/  installing them .../p' \
	-e 's/^Successfully installed .*/  done/p'
APT := apt-get -qq -o Dpkg::Use-Pty=0

heading = @printf '\n== %s\n' '$(1)'

help:
	@echo 'make app     serve the pictures at http://$(ADDRESS):$(PORT) (PORT=..., ADDRESS=...)'
	@echo 'make test    lint, types, and all tests: unit, proofs, kernel, notebook, browser'
	@echo 'make verdicts   what holds for every card: some minutes; `make test` asks about a part of them'
	@echo 'make lint    ruff: rules and format'
	@echo 'make types   mypy --strict'
	@echo 'make unit    one kind of test; also proofs, kernel, notebook, browser'
	@echo 'make bench   from a click to the painted frame, in milliseconds'
	@echo 'make clean   remove .venv and everything that was built or cached'
	@echo 'Afterwards   $(BIN)/bpflife --help'

# ---------------------------------------------------------------------------------------------
# the environment, with stamps

$(VENV)/made:
	@if [ -z '$(PYTHON)' ]; then echo 'bpflife needs Python 3.11 or newer: none found (make PYTHON=/path/to/python3 names one)' >&2; exit 2; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing $$package (this Python has no ensurepip)"; \
			{ $(APT) update && $(APT) install -y --no-install-recommends $$package; } >/dev/null; \
		else \
			echo "this Python has no ensurepip: apt-get install $$package" >&2; exit 2; \
		fi; fi
	@echo 'making $(VENV) with $(PYTHON)'
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@echo '$(CURDIR)' >$@

$(VENV)/app.stamp: pyproject.toml | $(VENV)/made
	@echo 'installing bpflife into $(VENV) (about 300 MB, a minute or two)'
	@$(PIP) install -e . $(SHOW)
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(VENV)/made
	@echo 'installing bpflife and what its tests need into $(VENV) (a minute or two)'
	@$(PIP) install -e '.[dev]' $(SHOW)
	@touch $(VENV)/app.stamp $@

# ---------------------------------------------------------------------------------------------
# what people ask for

app: $(VENV)/app.stamp
	@exec $(BIN)/bpflife app --port '$(PORT)' --address '$(ADDRESS)'

lint: $(VENV)/dev.stamp
	$(call heading,lint: ruff)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(VENV)/dev.stamp
	$(call heading,types: mypy --strict)
	@$(BIN)/mypy

unit: $(VENV)/dev.stamp
	$(call heading,unit tests)
	@$(PYTEST) -n auto -m 'not proofs and not kernel and not notebook and not browser'

proofs: $(VENV)/dev.stamp
	$(call heading,proofs)
	@$(PYTEST) -n auto --dist loadgroup -m 'proofs and not whole'

verdicts: $(VENV)/dev.stamp
	$(call heading,verdicts: every card and every property)
	@$(PYTEST) -n auto --dist loadgroup tests/test_proofs_verdicts.py tests/test_proofs_devices.py

kernel: $(VENV)/dev.stamp
	$(call heading,kernel: the model against the running one)
	@$(PYTEST) -n auto --dist loadscope -m kernel

notebook: $(VENV)/dev.stamp
	$(call heading,notebook)
	@$(PYTEST) --nbmake --nbmake-timeout=900 -m notebook tests $(wildcard notebooks/*.ipynb)

browser: $(VENV)/dev.stamp
	$(call heading,browser)
	@BPFLIFE_CHROMIUM="$$($(BIN)/python tests/find_chromium.py --install)" && \
		export BPFLIFE_CHROMIUM && $(PYTEST) -n auto -m browser

bench: $(VENV)/dev.stamp
	@BPFLIFE_CHROMIUM="$$($(BIN)/python tests/find_chromium.py --install)" && \
		export BPFLIFE_CHROMIUM && $(BIN)/python tests/bench_click.py

# One after the other also under `make -j`: they share two cores and a terminal.
test:
	@for phase in lint types unit proofs kernel notebook browser; do $(MAKE) $$phase || exit; done
	@printf '\nall of it passed\n'

clean:
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
