#!/usr/bin/env bash
# Installs what the tests need. Arguments: the Debian packages of missing programs. `cargo xtask setup` calls it.
# What cannot be installed is named, and the rest is installed.
set -uo pipefail
exec </dev/null
export DEBIAN_FRONTEND=noninteractive
APT=(apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120)

if ! command -v apt-get >/dev/null; then
    echo "setup: apt-get is missing; install these Debian packages, or those with the same programs, by hand: $*"
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "setup: no permission to install packages; run this, then try again:"
        echo "    sudo apt-get install -y --no-install-recommends $*"
        exit 1
    fi
    # sudo does not pass the environment on.
    APT=(sudo -n env DEBIAN_FRONTEND=noninteractive "${APT[@]}")
fi
"${APT[@]}" update
failed=0
# Each package separately, so that a missing one does not prevent the others.
for package in "$@"; do
    if ! "${APT[@]}" install -y --no-install-recommends "$package"; then
        echo "setup: $package could not be installed; continuing without it"
        failed=1
    fi
done
exit "$failed"
