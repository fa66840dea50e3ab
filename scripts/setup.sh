#!/usr/bin/env bash
# Prepares a fresh checkout: system packages where they are missing, then .venv from the locks.
set -euo pipefail
cd "$(dirname "$0")/.."

# Packages of the system, by the command that shows whether one is there.
missing=()
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing+=("$2"); }
need ip iproute2
need nft nftables
need curl curl
need zip zip
need mkfs.ext4 e2fsprogs
[ -x /usr/bin/python3 ] || missing+=(python3)
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
# The AWS CLI of version 2: the demonstration uses `aws logs tail`, which version 1 lacks.
if ! aws --version 2>/dev/null | grep -q '^aws-cli/2' && ! [ -x /usr/bin/aws ]; then
  missing+=(awscli)
fi
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>.setup.log || {
      cat .setup.log >&2; rm -f .setup.log
      echo "setup: apt-get could not install ${missing[*]}; install them by hand and run make again." >&2
      exit 1
    }
    rm -f .setup.log
  else
    echo "setup: these packages are missing: ${missing[*]}. Install them (on Debian: sudo apt-get install ${missing[*]}), then run make again." >&2
    exit 1
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
for candidate in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
  "$candidate" -c "$able" 2>/dev/null || continue
  if "$candidate" -c "$fast"; then
    python=$candidate
    break
  fi
  python=${python:-$candidate}
done
if [ -z "$python" ]; then
  echo "setup: Python 3.11 or newer with venv was not found; install it (on Debian: apt-get install python3 python3-venv)." >&2
  exit 1
fi

echo "setup: virtual environment in .venv ($("$python" --version), $(command -v "$python"))"
rm -f .venv/.ready
whose() { "$1" -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null; }
[ "$(whose .venv/bin/python)" = "$(whose "$python")" ] || { rm -rf .venv; "$python" -m venv .venv; }
.venv/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/boda.txt -r requirements/dev.txt
.venv/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
touch .venv/.ready
