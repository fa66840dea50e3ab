#!/usr/bin/env bash
# The whole suite, in parallel; each test has its own port and folder.
set -euo pipefail
cd "$(dirname "$0")/.."
exec .venv/bin/pytest -n "${TEST_WORKERS:-auto}" --dist worksteal "$@"
