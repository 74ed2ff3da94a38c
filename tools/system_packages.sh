#!/bin/sh
# Install the Debian packages that the demo and the tests need. Does nothing where all commands are there.
#
#     tools/system_packages.sh [PYTHON [cluster|servers]]
#
# With "cluster", those of a Kubernetes node too; with "servers", those of machines that run systemd.
set -eu
python=${1:-python3}
of=${2:-}

missing=
need() { # COMMAND PACKAGE
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need nft nftables
need ip iproute2
need openssl openssl
need curl curl
need sysctl procps
need wrk wrk
need h2load nghttp2-client
need haproxy haproxy
need nginx nginx-light
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing="$missing libnginx-mod-stream"
if [ "$of" = cluster ]; then
    need containerd containerd
    need runc runc
    need buildah buildah
    need debootstrap debootstrap
    need iptables iptables
    need conntrack conntrack
    need nsenter util-linux
    [ -x /usr/lib/cni/bridge ] || missing="$missing containernetworking-plugins"
fi
if [ "$of" = servers ]; then
    need debootstrap debootstrap
    need systemd-nspawn systemd-container
fi
"$python" -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"

[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "meshtx: install these (their Debian names), then try again:$missing" >&2
    exit 1
fi
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
echo "Installing$missing"
$sudo apt-get update -q
# shellcheck disable=SC2086  # one word a package
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing

# The tests start these themselves; none of them is to serve on this machine only because of that.
[ -d /run/systemd/system ] || exit 0
for service in haproxy nginx containerd; do
    case "$missing " in *" $service "* | *" $service-light "*) $sudo systemctl disable --now "$service" ;; esac
done
