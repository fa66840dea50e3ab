#!/usr/bin/env bash
# Prepares a fresh checkout: system packages where they are missing, then .venv from the locks.
#
#   setup.sh demo    what the demonstration and a running boda need
#   setup.sh all     what the tests need besides
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
log=$(mktemp "${TMPDIR:-/tmp}/boda-setup-XXXXXX")
trap 'rm -f "$log"' EXIT

# One line per step with its time. On a terminal the step's own progress stands between; elsewhere
# its output is shown only if it fails.
step() {
  local told=$1 begin=$SECONDS
  shift
  if [ -t 1 ]; then
    printf 'setup: %s …\n' "$told"
    "$@" || return 1
    printf 'setup: %s: done in %s s\n' "$told" $((SECONDS - begin))
  else
    printf 'setup: %s … ' "$told"
    "$@" >"$log" 2>&1 || { printf 'failed\n'; cat "$log" >&2; return 1; }
    printf '%s s\n' $((SECONDS - begin))
  fi
}

# Packages of the system, by the command that shows whether one is there.
missing=()
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("$2"); }
need nft nftables
need mkfs.ext4 e2fsprogs
need zip zip
[ -x /usr/bin/python3 ] || missing+=(python3)
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
# The AWS CLI of version 2: the demonstration uses `aws logs tail`, which version 1 lacks.
if ! aws --version 2>/dev/null | grep -q '^aws-cli/2' && ! [ -x /usr/bin/aws ]; then
  missing+=(awscli)
fi
if [ "$what" = all ]; then
  need ip iproute2
  need curl curl
fi

install_packages() {
  local quiet=-qq
  [ -t 1 ] && quiet=-q
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y $quiet --no-install-recommends "${missing[@]}"
}
stuck=
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    step "system packages: ${missing[*]}" install_packages || {
      echo "setup: apt-get could not install ${missing[*]}; install them by hand and run make again." >&2
      exit 1
    }
  else
    stuck=yes
    echo "setup: these packages are missing: ${missing[*]}. Install them (on Debian: sudo apt-get install ${missing[*]}), then run make again." >&2
  fi
fi

# The first Python of 3.11 or newer that works and can make virtual environments. One that was built
# without its own optimisations, as version managers often do, takes half as long again for
# everything; it serves where there is no other. Distributions link an optimised build into the
# executable, without a shared libpython.
able='import sys, ensurepip, venv, ssl, sqlite3; sys.exit(sys.version_info < (3, 11))'
fast='
import sys, sysconfig
named = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
sys.exit(not named and "libpython" in open("/proc/self/maps").read())'
python=""
for candidate in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
  "$candidate" -c "$able" 2>/dev/null || continue
  if "$candidate" -c "$fast"; then
    python=$candidate
    break
  fi
  python=${python:-$candidate}
done

# Whoever cannot run the demonstration is told before anything is downloaded for it.
if [ "$what" = demo ] && [ "${BODA_ISOLATION:-full}" = full ]; then
  looking=${python:-/usr/bin/python3}
  if "$looking" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    PYTHONPATH=src "$looking" scripts/isolation.py || stuck=yes
  fi
fi
[ -z "$stuck" ] || exit 1
if [ -z "$python" ]; then
  echo "setup: Python 3.11 or newer with venv was not found; install it (on Debian: apt-get install python3 python3-venv)." >&2
  exit 1
fi

whose() { "$1" -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null; }
make_venv() { rm -rf .venv && "$python" -m venv .venv; }
pip_install() {
  local quiet=(-q)
  [ -t 1 ] && quiet=()
  PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    "$1/bin/pip" install "${quiet[@]}" "${@:2}"
}
rm -f .venv/.ready .venv/.demo
[ "$(whose .venv/bin/python)" = "$(whose "$python")" ] ||
  step "virtual environment in .venv ($("$python" --version), $(command -v "$python"))" make_venv
step "what boda runs on" pip_install .venv --require-hashes -r requirements/boda.txt
if [ "$what" = all ]; then
  step "what tests and checks need besides" pip_install .venv --require-hashes -r requirements/dev.txt
  # The oldest versions that pyproject.toml admits, for the test that runs boda on them.
  [ -x .venv/lowest/bin/python ] || step "a second environment for the oldest dependencies" \
    "$python" -m venv .venv/lowest
  step "the oldest dependencies" pip_install .venv/lowest --require-hashes -r requirements/lowest.txt
fi
# What an editable install does, without a build backend: a path file and a command.
printf '%s\n' "$PWD/src" >"$(.venv/bin/python -c 'import site; print(site.getsitepackages()[0])')/boda.pth"
printf '#!%s\nfrom boda.cli import main\n\nmain()\n' "$PWD/.venv/bin/python" >.venv/bin/boda
chmod +x .venv/bin/boda
touch .venv/.demo
[ "$what" = demo ] || touch .venv/.ready
