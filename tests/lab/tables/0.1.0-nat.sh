# The rows of ftpdirector 0.1.0 for the cluster of `Topology("nat")`: what its `ftpdirector plan --config FILE` printed on the
# lab's director (Linux 6.12, nft 1.1.3) when nothing stood yet, without comments and empty lines. To be run by sh.
nft -f - <<'EOF'
add table inet ftpdirector
flush table inet ftpdirector
table inet ftpdirector {
	set vips4 { type ipv4_addr; }
	set vips6 { type ipv6_addr; }
	set owned4 { type ipv4_addr . inet_service; }
	set owned6 { type ipv6_addr . inet_service; }
	map tags4 { type ipv4_addr . inet_service : mark; }
	map tags6 { type ipv6_addr . inet_service : mark; }
	map server_marks4 { type mark . ipv4_addr : mark; }
	map server_marks6 { type mark . ipv6_addr : mark; }
	map ranges4 { type ipv4_addr . inet_service : mark; flags interval; }
	map ranges6 { type ipv6_addr . inet_service : mark; flags interval; }
	map passive4 { type ipv4_addr . inet_service : mark; flags interval; }
	map passive6 { type ipv6_addr . inet_service : mark; flags interval; }
	map persistent4 { type ipv4_addr . inet_service : mark; flags interval; }
	map persistent6 { type ipv6_addr . inet_service : mark; flags interval; }
	map persistent_active4 { type ipv4_addr . inet_service : ipv4_addr; }
	map persistent_active6 { type ipv6_addr . inet_service : ipv6_addr; }
	map active_ports4 { type ipv4_addr . inet_service : mark; }
	map active_ports6 { type ipv6_addr . inet_service : mark; }
	map nat_active4 { type ipv4_addr . inet_service : mark; }
	map nat_active6 { type ipv6_addr . inet_service : mark; }
	map active_servers4 { type ipv4_addr . ipv4_addr : mark; }
	map active_servers6 { type ipv6_addr . ipv6_addr : mark; }
	set nat_servers4 { type ipv4_addr . inet_service; }
	set nat_servers6 { type ipv6_addr . inet_service; }
	set landed4 { type mark . ipv4_addr; counter; }
	set landed6 { type mark . ipv6_addr; counter; }
	set misdirected { type mark; counter; }
	set unexpected { type mark; counter; }
	set reject_tags { type mark; }
	set pass_tags { type mark; }
	set hold { type mark; }
	set networks4 { type mark . ipv4_addr; }
	set networks6 { type mark . ipv6_addr; }
	set drained { type mark; }
	set version { type mark; }
	set open4 { type ipv4_addr . mark; size 1048576; flags timeout,dynamic; }
	set open6 { type ipv6_addr . mark; size 1048576; flags timeout,dynamic; }
	set tunnel_open4 { typeof @nh,96,32 . meta mark; size 1048576; flags timeout,dynamic; }
	set tunnel_open6 { typeof @nh,64,128 . meta mark; size 1048576; flags timeout,dynamic; }
	map exact4 { type ipv4_addr . ipv4_addr . inet_service : mark; size 1048576; flags timeout; }
	map exact6 { type ipv6_addr . ipv6_addr . inet_service : mark; size 1048576; flags timeout; }
	map translated4 { type ipv4_addr . ipv4_addr . inet_service : ipv4_addr . inet_service; size 1048576; flags timeout; }
	map translated6 { type ipv6_addr . ipv6_addr . inet_service : ipv6_addr . inet_service; size 1048576; flags timeout; }
	map active4 { type ipv4_addr . inet_service . ipv4_addr : mark; size 1048576; flags timeout; }
	map active6 { type ipv6_addr . inet_service . ipv6_addr : mark; size 1048576; flags timeout; }
	map active_nat4 { type ipv4_addr . ipv4_addr . inet_service : ipv4_addr; size 1048576; flags timeout; }
	map active_nat6 { type ipv6_addr . ipv6_addr . inet_service : ipv6_addr; size 1048576; flags timeout; }
	set blind4 { type ipv4_addr . inet_service . ipv4_addr . inet_service; size 1048576; flags timeout,dynamic; }
	set blind6 { type ipv6_addr . inet_service . ipv6_addr . inet_service; size 1048576; flags timeout,dynamic; }
	map active_tls4 { type ipv4_addr . ipv4_addr . inet_service : mark; size 1048576; flags timeout; }
	map active_tls6 { type ipv6_addr . ipv6_addr . inet_service : mark; size 1048576; flags timeout; }
	map active_tls_nat4 { type ipv4_addr . inet_service . ipv4_addr : ipv4_addr; size 1048576; flags timeout; }
	map active_tls_nat6 { type ipv6_addr . inet_service . ipv6_addr : ipv6_addr; size 1048576; flags timeout; }
	counter doors_full { }
	chain prerouting {
		type filter hook prerouting priority -95; policy accept;
		meta l4proto != tcp accept
		tcp flags & (fin | syn | rst | ack) == syn goto syn
		tcp flags & (fin | syn | rst | ack) == syn | ack goto syn_ack
		tcp flags & (fin | rst) != 0x0 goto control
		@ih,0,8 >= 0 goto control
	}
	chain control {
		meta mark set ip daddr . tcp dport map @tags4 return
		meta mark set ip6 daddr . tcp dport map @tags6
	}
	chain syn {
		ip daddr @vips4 goto data4
		ip6 daddr @vips6 goto data6
	}
	chain syn_ack {
		ip daddr @vips4 goto syn_ack4
		ip6 daddr @vips6 goto syn_ack6
	}
	chain unexpected_active {
		meta mark @unexpected
		drop
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		tcp flags & (fin | rst) != 0x0 goto replies
		meta l4proto tcp @ih,0,8 >= 0 goto replies
	}
	chain replies {
		ip daddr . tcp dport . ip saddr . tcp sport @blind4 tcp flags & (fin | rst) == 0x0 @ih,0,8 20-23 accept
		ip6 daddr . tcp dport . ip6 saddr . tcp sport @blind6 tcp flags & (fin | rst) == 0x0 @ih,0,8 20-23 accept
		ip saddr . tcp sport @nat_servers4 queue flags bypass to 2100
		ip6 saddr . tcp sport @nat_servers6 queue flags bypass to 2100
	}
	chain postrouting {
		type filter hook postrouting priority 0; policy accept;
		meta mark & 0xffff0000 == 0x0f710000 jump server
		meta mark & 0xffff0000 == 0x0f730000 goto inspect
	}
	chain server {
		meta mark set meta mark . ip daddr map @server_marks4 return
		meta mark set meta mark . rt ip nexthop map @server_marks4 return
		meta mark set meta mark . ip6 daddr map @server_marks6 return
		meta mark set meta mark . rt ip6 nexthop map @server_marks6 return
		meta mark set 0x0
	}
	chain inspect {
		ip saddr . tcp sport . ip daddr . tcp dport @blind4 jump blind4
		ip6 saddr . tcp sport . ip6 daddr . tcp dport @blind6 jump blind6
		meta mark 0x0 accept
		meta mark @hold queue to 2100
		queue flags bypass to 2100
	}
	chain opening {
		type filter hook postrouting priority 1; policy accept;
		meta mark & 0xffff0000 == 0x0f730000 goto open
		meta mark & 0xffff0000 == 0x0f700000 goto verify
	}
	chain verify {
		meta mark . ip daddr @landed4 goto landed
		meta mark . rt ip nexthop @landed4 goto landed
		meta mark . ip6 daddr @landed6 goto landed
		meta mark . rt ip6 nexthop @landed6 goto landed
		meta mark @misdirected
	}
	chain landed {
		log group 2100 snaplen 128
	}
	chain guard {
		type filter hook input priority 110; policy accept;
		ip daddr @vips4 goto guard4
		ip6 daddr @vips6 goto guard6
	}
	chain data4 {
		meta mark set ip saddr . ip daddr . tcp dport map @exact4 return
		meta mark set ip daddr . tcp dport map @ranges4 goto ranged4
		meta mark set ip daddr . tcp dport map @persistent4 return
		meta mark set ip daddr . tcp dport map @passive4 goto unexpected4
	}
	chain ranged4 {
		ip saddr . meta mark @open4 meta mark set meta mark & 0xfffcffff return
		@nh,96,32 . meta mark @tunnel_open4 meta mark set meta mark & 0xfffcffff return
		meta mark set ip daddr . tcp dport map @persistent4 return
		meta mark set ip daddr . tcp dport map @passive4 goto unexpected4
		meta mark set 0x0
		drop
	}
	chain unexpected4 {
		meta mark @unexpected
		meta mark @reject_tags reject with tcp reset
		meta mark @pass_tags goto pass4
		drop
	}
	chain pass4 {
		meta mark set ip daddr . tcp dport map @ranges4 goto by_range4
		drop
	}
	chain by_range4 {
		meta mark set meta mark & 0xfffcffff
	}
	chain syn_ack4 {
		meta mark set ip saddr . tcp sport . ip daddr map @active4 return
		meta mark set ip saddr . ip daddr . tcp dport map @active_tls4 return
		meta mark set ip daddr . tcp dport map @persistent4 return
		meta mark set ip daddr . tcp dport map @active_ports4 goto unexpected_active
	}
	chain blind4 {
		tcp flags & (fin | rst) != 0x0 return
		@ih,0,8 != 20-23 return
		update @blind4 { ip saddr . tcp sport . ip daddr . tcp dport timeout 900s } update @open4 { ip saddr . meta mark timeout 900s } meta mark set 0x0
	}
	chain guard4 {
		meta mark set ip daddr . tcp dport map @tags4 drop
		meta mark set ip daddr . tcp dport map @passive4 drop
		meta mark set ip daddr . tcp dport map @active_ports4 drop
	}
	chain data6 {
		meta mark set ip6 saddr . ip6 daddr . tcp dport map @exact6 return
		meta mark set ip6 daddr . tcp dport map @ranges6 goto ranged6
		meta mark set ip6 daddr . tcp dport map @persistent6 return
		meta mark set ip6 daddr . tcp dport map @passive6 goto unexpected6
	}
	chain ranged6 {
		ip6 saddr . meta mark @open6 meta mark set meta mark & 0xfffcffff return
		@nh,64,128 . meta mark @tunnel_open6 meta mark set meta mark & 0xfffcffff return
		meta mark set ip6 daddr . tcp dport map @persistent6 return
		meta mark set ip6 daddr . tcp dport map @passive6 goto unexpected6
		meta mark set 0x0
		drop
	}
	chain unexpected6 {
		meta mark @unexpected
		meta mark @reject_tags reject with tcp reset
		meta mark @pass_tags goto pass6
		drop
	}
	chain pass6 {
		meta mark set ip6 daddr . tcp dport map @ranges6 goto by_range6
		drop
	}
	chain by_range6 {
		meta mark set meta mark & 0xfffcffff
	}
	chain syn_ack6 {
		meta mark set ip6 saddr . tcp sport . ip6 daddr map @active6 return
		meta mark set ip6 saddr . ip6 daddr . tcp dport map @active_tls6 return
		meta mark set ip6 daddr . tcp dport map @persistent6 return
		meta mark set ip6 daddr . tcp dport map @active_ports6 goto unexpected_active
	}
	chain blind6 {
		tcp flags & (fin | rst) != 0x0 return
		@ih,0,8 != 20-23 return
		update @blind6 { ip6 saddr . tcp sport . ip6 daddr . tcp dport timeout 900s } update @open6 { ip6 saddr . meta mark timeout 900s } meta mark set 0x0
	}
	chain guard6 {
		meta mark set ip6 daddr . tcp dport map @tags6 drop
		meta mark set ip6 daddr . tcp dport map @passive6 drop
		meta mark set ip6 daddr . tcp dport map @active_ports6 drop
	}
	chain open {
		ip protocol 4 update @tunnel_open4 { @nh,256,32 . meta mark timeout 10000ms } accept
		ip6 nexthdr 41 update @tunnel_open6 { @nh,384,128 . meta mark timeout 10000ms } accept
		update @open4 { ip saddr . meta mark timeout 10000ms } accept
		update @open6 { ip6 saddr . meta mark timeout 10000ms } accept
		counter name doors_full
	}
	chain translate {
		type nat hook prerouting priority -110; policy accept;
		meta mark set ip saddr . ip daddr . tcp dport map @exact4
		meta mark set ip6 saddr . ip6 daddr . tcp dport map @exact6
		dnat ip to ip saddr . ip daddr . tcp dport map @translated4
		dnat ip6 to ip6 saddr . ip6 daddr . tcp dport map @translated6
	}
	chain active_source {
		type nat hook postrouting priority 90; policy accept;
		meta mark 0x0 meta l4proto tcp goto from_any_port
		snat ip to ip saddr . ip daddr . tcp dport map @active_nat4
		snat ip6 to ip6 saddr . ip6 daddr . tcp dport map @active_nat6
		snat ip to ip saddr . tcp sport . ip daddr map @active_tls_nat4
		snat ip6 to ip6 saddr . tcp sport . ip6 daddr map @active_tls_nat6
		snat ip to ip saddr . tcp sport map @persistent_active4
		snat ip6 to ip6 saddr . tcp sport map @persistent_active6
	}
	chain from_any_port {
		meta mark set 0x0f713fff snat ip to ip saddr . ip daddr . tcp dport map @active_nat4
		meta mark set 0x0f713fff snat ip6 to ip6 saddr . ip6 daddr . tcp dport map @active_nat6
		meta mark set 0x0
	}
	chain calling {
		type filter hook postrouting priority 80; policy accept;
		tcp flags & (fin | syn | rst | ack) == syn goto call
	}
	chain call {
		meta mark set ip saddr . tcp sport map @nat_active4 return
		meta mark set ip6 saddr . tcp sport map @nat_active6
	}
	chain leaving {
		type filter hook postrouting priority 110; policy accept;
		tcp flags & (fin | syn | rst | ack) == syn meta mark & 0xffff0000 == 0x0f710000 goto active_syn
	}
	chain active_syn {
		meta mark set ip saddr . ct original ip saddr map @active_servers4 goto active_landed4
		meta mark set ip6 saddr . ct original ip6 saddr map @active_servers6 goto active_landed6
		goto unexpected_active
	}
	chain active_landed4 {
		meta mark . ct original ip saddr @landed4 goto landed
	}
	chain active_landed6 {
		meta mark . ct original ip6 saddr @landed6 goto landed
	}
}
flush set inet ftpdirector version
add element inet ftpdirector version { 0xaa06c2af }
EOF
ipvsadm -A -f 258998272 -s rr
ipvsadm -a -f 258998272 -r 10.0.0.11:0 -m -w 1
ipvsadm -A -f 258998273 -s rr
ipvsadm -a -f 258998273 -r 10.0.0.12:0 -m -w 1
ipvsadm -A -f 258998274 -s rr
ipvsadm -a -f 258998274 -r 10.0.0.13:0 -m -w 1
nft add element inet ftpdirector vips4 { 10.0.0.100 }
nft add element inet ftpdirector owned4 { 10.0.0.100 . 21 }
nft add element inet ftpdirector tags4 { 10.0.0.100 . 21 : 0x0f710000 }
nft add element inet ftpdirector server_marks4 { 0x0f710000 . 10.0.0.11 : 0x0f730000 }
nft add element inet ftpdirector server_marks4 { 0x0f710000 . 10.0.0.12 : 0x0f730001 }
nft add element inet ftpdirector server_marks4 { 0x0f710000 . 10.0.0.13 : 0x0f730002 }
nft add element inet ftpdirector ranges4 { 10.0.0.100 . 31000-31999 : 0x0f730000 }
nft add element inet ftpdirector ranges4 { 10.0.0.100 . 32000-32999 : 0x0f730001 }
nft add element inet ftpdirector ranges4 { 10.0.0.100 . 33000-33999 : 0x0f730002 }
nft add element inet ftpdirector passive4 { 10.0.0.100 . 31000-31999 : 0x0f710000 }
nft add element inet ftpdirector passive4 { 10.0.0.100 . 32000-32999 : 0x0f710000 }
nft add element inet ftpdirector passive4 { 10.0.0.100 . 33000-33999 : 0x0f710000 }
nft add element inet ftpdirector nat_active4 { 10.0.0.11 . 20 : 0x0f710000 }
nft add element inet ftpdirector nat_active4 { 10.0.0.12 . 20 : 0x0f710000 }
nft add element inet ftpdirector nat_active4 { 10.0.0.13 . 20 : 0x0f710000 }
nft add element inet ftpdirector active_servers4 { 10.0.0.100 . 10.0.0.11 : 0x0f700000 }
nft add element inet ftpdirector active_servers4 { 10.0.0.100 . 10.0.0.12 : 0x0f700001 }
nft add element inet ftpdirector active_servers4 { 10.0.0.100 . 10.0.0.13 : 0x0f700002 }
nft add element inet ftpdirector nat_servers4 { 10.0.0.11 . 21 }
nft add element inet ftpdirector nat_servers4 { 10.0.0.12 . 21 }
nft add element inet ftpdirector nat_servers4 { 10.0.0.13 . 21 }
nft add element inet ftpdirector landed4 { 0x0f700000 . 10.0.0.11 }
nft add element inet ftpdirector landed4 { 0x0f700001 . 10.0.0.12 }
nft add element inet ftpdirector landed4 { 0x0f700002 . 10.0.0.13 }
nft add element inet ftpdirector misdirected { 0x0f700000 }
nft add element inet ftpdirector misdirected { 0x0f700001 }
nft add element inet ftpdirector misdirected { 0x0f700002 }
nft add element inet ftpdirector unexpected { 0x0f710000 }
ipvsadm -A -t 10.0.0.100:21 -s rr
ipvsadm -a -t 10.0.0.100:21 -r 10.0.0.11:21 -m -w 1
ipvsadm -a -t 10.0.0.100:21 -r 10.0.0.12:21 -m -w 1
ipvsadm -a -t 10.0.0.100:21 -r 10.0.0.13:21 -m -w 1
