#!/usr/bin/env bash
# The suite, or what of it the arguments name, in parallel; each test has its own port and folder,
# and nothing is left.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d "${TMPDIR:-/tmp}/boda-test-XXXXXX")
trap 'rm -rf "$folder"' EXIT
unset PYTHONDONTWRITEBYTECODE  # hundreds of processes would compile the same modules, each for itself
.venv/bin/pytest -n "${TEST_WORKERS:-auto}" --dist worksteal --basetemp "$folder/t" "$@"
