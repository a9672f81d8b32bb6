#!/bin/sh
# What goes with it, as the LVS HOWTO has it.
VIP=192.0.2.110
MARK=1
echo 1 > /proc/sys/net/ipv4/ip_forward
/sbin/iptables -t mangle -F PREROUTING
/sbin/iptables -t mangle -A PREROUTING -p tcp -d $VIP/32 --dport ftp -j MARK --set-mark $MARK
/sbin/iptables -t mangle -A PREROUTING -p tcp -d $VIP/32 --dport ftp-data -j MARK --set-mark $MARK
/sbin/iptables -t mangle -A PREROUTING -p tcp -d $VIP/32 --dport 1024: -j MARK --set-mark $MARK
