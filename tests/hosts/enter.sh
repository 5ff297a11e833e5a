#!/bin/sh
# Makes a folder the root of this mount namespace and runs a program there. Usage: enter.sh ROOT GROUP PROGRAM [ARGUMENT...]
# Control groups are made below GROUP, which the caller removes, so that nothing there is taken for that of the host's own VMs.
#
# To be run as the first process of mount and PID namespaces of its own: with it, all mounts and processes are gone.
# A change of root by chroot alone would not do: from such a root no user namespace can be made.
set -eu
root="$1"
group="$2"
shift 2
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
if [ -e sys/fs/cgroup/cgroup.controllers ]; then
    mkdir "sys/fs/cgroup/$group"
    echo "+memory +pids +cpu" >sys/fs/cgroup/cgroup.subtree_control
    mount --bind "sys/fs/cgroup/$group" sys/fs/cgroup
else
    for controller in memory pids cpu; do
        mkdir "sys/fs/cgroup/$controller/$group"
        mount --bind "sys/fs/cgroup/$controller/$group" "sys/fs/cgroup/$controller"
    done
fi
mkdir -p .host
pivot_root . .host
cd /
umount -l /.host
exec "$@"
