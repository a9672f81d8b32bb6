#!/bin/bash
# After scripts that are found in blogs: everything in one file, ip_vs_ftp with a mark on every port of two addresses.
set -e
IPVSADM=/sbin/ipvsadm
VIP1=192.0.2.110
RIP1=198.51.100.1
RIP2=198.51.100.2
case "$1" in
start)
    modprobe ip_tables && modprobe ip_vs_ftp
    iptables -A PREROUTING -t mangle -d $VIP1/31 -j MARK --set-mark 1
    $IPVSADM -C
    $IPVSADM -At $VIP1:80 -s rr
    $IPVSADM -at $VIP1:80 -r $RIP1:80 -m
    ipvsadm -A -f 1 -s sh \
        -b sh-port
    for _ in 1 2; do :; done
    ipvsadm -a -f 1 -r $RIP1:0 -m -w 3
    ipvsadm -a -f 1 -r ${RIP2}:0 --masquerading --weight=1
    ;;
stop)
    $IPVSADM -C; modprobe -r ip_vs_ftp
    ;;
esac
