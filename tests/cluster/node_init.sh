#!/bin/sh
# Process 1 of the node, in namespaces of its own (mount, net, pid, ipc, uts, cgroup): what it sees, and its network.
#
#     node_init.sh FOLDER PAUSE NODE-ADDRESS OUTSIDE-ADDRESS
#
# FOLDER/prepared is there when all is done; FOLDER/outside has the process id of the second host, as this
# namespace counts.
set -eu
folder=$1 pause=$2 node=$3 outside=$4

mount --make-rprivate /
umount -R /sys/fs/cgroup
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
for each in cpu cpuacct cpuset memory devices freezer blkio pids; do
    mkdir "/sys/fs/cgroup/$each"
    mount -t cgroup -o "$each" cgroup "/sys/fs/cgroup/$each"
done
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /run/netns "$folder/lib" "$folder/varlog" "$folder/sysctl"
mount --bind "$folder/lib" /var/lib
mount --bind "$folder/varlog" /var/log
# These are the whole machine's, so the kubelet sets files in their place.
for each in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
    kernel/keys/root_maxbytes; do
    file=$folder/sysctl/$(echo "$each" | tr / -)
    cat "/proc/sys/$each" >"$file"
    mount --bind "$file" "/proc/sys/$each"
done
mount --make-rshared /
hostname node
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
[ ! -e /proc/sys/net/bridge ] || echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables

unshare --net sleep infinity &
there=$!
while [ "$(readlink "/proc/$there/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add eth0 type veth peer name eth0 netns "$there"
ip address add "$node/24" dev eth0
ip link set eth0 up
ip route add default via "$outside"
nsenter --target "$there" --net ip link set lo up
nsenter --target "$there" --net ip address add "$outside/24" dev eth0
nsenter --target "$there" --net ip link set eth0 up
echo "$there" >"$folder/outside"
touch "$folder/prepared"
exec "$pause"
