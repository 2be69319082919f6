#!/bin/busybox sh
# First process of the Linux peer. The kernel's command line says what to serve (peer=redis|nginx|stream|latency) and the
# address (ip=A.B.C.D/LEN,gw=..., or ip=dhcp); of latency also the suite, the pace and the unit.
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /var/log/nginx /var/lib/nginx /etc
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for setting in $(cat /proc/cmdline); do
    case "$setting" in
        peer=*) peer=${setting#peer=} ;;
        ip=*) address=${setting#ip=} address=${address%%,*} ;;
        suite=*) suite=${setting#suite=} ;;
        pace=*) pace=${setting#pace=} ;;
        unit=*) unit=${setting#unit=} ;;
    esac
done
for module in failover net_failover virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_net \
    virtio_blk
do
    insmod /modules/$module.ko
done
if [ "$peer" = latency ]; then
    # Real-time threads may take all of a CPU, as ours may.
    echo -1 >/proc/sys/kernel/sched_rt_runtime_us
    latency "$suite" "$pace" "$unit" >/dev/ttyS0 2>&1 || echo "ERROR latency: status $?" >/dev/ttyS0
    poweroff -f
fi
ip link set lo up
ip link set eth0 up
# QEMU's user network hands out 10.0.2.15 always.
[ "$address" = dhcp ] && address=10.0.2.15/24
ip addr add "$address" dev eth0
ulimit -n 10240
echo 1024 >/proc/sys/net/core/somaxconn
echo 2048 >/proc/sys/net/ipv4/tcp_max_syn_backlog
case "$peer" in
    redis) redis-server --save '' --appendonly no --protected-mode no --bind 0.0.0.0 --tcp-backlog 1024 >/dev/null & ;;
    nginx) nginx -c /nginx.conf & ;;
    stream) stream & ;;
esac
# Whoever asks gets the memory figures.
nc -ll -p 9100 -e /bin/cat /proc/meminfo &
echo "peer: up" >/dev/ttyS0
exec sleep 2147483647
