# Every target works by itself on a fresh machine: each begins with `setup`.
SHELL := /bin/bash
PY := .venv/bin/python

.PHONY: setup demo test lint bench lock clean

setup: .venv/.ready

# System packages, then the virtual environment from the hashed locks.
.venv/.ready: requirements/boda.txt requirements/dev.txt requirements/lowest.txt scripts/setup.sh
	@bash scripts/setup.sh all

# What the demonstration needs, which is what a running boda needs.
.venv/.demo: requirements/boda.txt scripts/setup.sh
	@bash scripts/setup.sh demo

demo: .venv/.demo
	@bash examples/demo.sh

# The whole suite, or the rooms of it that ROOM names; OPTIONS are pytest's.
ROOMS := $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard tests/*/test_*.py)))))
unknown := $(filter-out $(ROOMS),$(ROOM))
ifneq ($(and $(unknown),$(filter test,$(MAKECMDGOALS))),)
$(error There is no room of tests called $(unknown); the rooms are $(ROOMS))
endif

test: $(if $(ROOM),setup,lint)
	@bash scripts/test.sh $(OPTIONS) $(ROOM:%=tests/%)

lint: setup
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

bench: setup
	@$(PY) -m bench

lock: setup
	@cd requirements && for name in boda lowest dev bench ministack demo; do \
	  ../.venv/bin/pip-compile -q --generate-hashes --allow-unsafe --strip-extras --no-header \
	  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
	  -o $$name.txt $$name.in; done
	@if command -v npm >/dev/null; then cd bench/peers/node && \
	  npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts \
	  --no-audit --no-fund --loglevel=error; \
	else echo "lock: npm was not found; bench/peers/node/package-lock.json stays as it is"; fi

clean:
	@rm -rf .venv .demo .bench .mypy_cache .ruff_cache
