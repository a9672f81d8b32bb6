"""TCP by hand, over IPv4 and IPv6: segments as strangers, forgers and broken hosts send them."""

import functools
import ipaddress
import socket
import struct

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
# linux/tcp.h; Python does not name them.
TCP_REPAIR, TCP_REPAIR_QUEUE, TCP_QUEUE_SEQ = 19, 20, 21
RECEIVED, SENT = 1, 2
WITHOUT_A_PROBE = -1


def segment(source, target, flags, seq=1000, ack=1, payload=b"", damaged=False):
    """An IP packet with one TCP segment between two (address, port). `damaged`: its TCP checksum is wrong."""
    (from_address, from_port), (to_address, to_port) = source, target
    ends = _packed(from_address) + _packed(to_address)
    numbers = (from_port, to_port, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 5 << 4, flags, 64000)
    tcp = struct.pack("!HHIIBBHHH", *numbers, 0, 0) + payload
    value = checksum(ends + struct.pack("!II", len(tcp), socket.IPPROTO_TCP) + tcp) ^ (0x5555 if damaged else 0)
    tcp = tcp[:16] + struct.pack("!H", value) + tcp[18:]
    if len(ends) == 32:
        return struct.pack("!IHBB", 6 << 28, len(tcp), socket.IPPROTO_TCP, 64) + ends + tcp
    return _ipv4(ends, tcp)


def fragments(packet, first=8, ident=77):
    """The same IPv4 packet in two fragments, the first with so many bytes of TCP (a multiple of eight)."""
    ends, tcp = packet[12:20], packet[20:]
    more = 0x2000
    return _ipv4(ends, tcp[:first], ident, more), _ipv4(ends, tcp[first:], ident, first // 8)


def with_option(packet, option):
    """The same IPv4 packet with an IP option, of a multiple of four bytes."""
    header = bytearray(packet[:20])
    header[0] += len(option) // 4
    header[2:4] = struct.pack("!H", len(packet) + len(option))
    header[10:12] = bytes(2)
    header += option
    header[10:12] = struct.pack("!H", checksum(bytes(header)))
    return bytes(header) + packet[20:]


@functools.cache
def _packed(address):
    return ipaddress.ip_address(address).packed


def _ipv4(ends, content, ident=1, fragment=0):
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), ident, fragment, 64, socket.IPPROTO_TCP, 0) + ends
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + content


def checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def send(host, *packets):
    """Sends packets as they are from a host; whose addresses they name is up to them."""
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    with host.enter():
        raw = {version: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) for version, family in families.items()}
    for packet in packets:
        version = packet[0] >> 4
        to = packet[16:20] if version == 4 else packet[24:40]
        raw[version].sendto(packet, (str(ipaddress.ip_address(to)), 0))
    for each in raw.values():
        each.close()


def ends(sock):
    """Both ends of a connection, each as (address, port), our own first."""
    return sock.getsockname()[:2], sock.getpeername()[:2]


def numbers(sock):
    """The sequence numbers of a connection at rest: of our next byte, and of the peer's."""
    found = []
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    for queue in (SENT, RECEIVED):
        sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR_QUEUE, queue)
        found.append(sock.getsockopt(socket.IPPROTO_TCP, TCP_QUEUE_SEQ) & 0xFFFFFFFF)
    sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, WITHOUT_A_PROBE)
    return found


def next_segment(sock, payload, flags=PSH | ACK, damaged=False):
    """The segment that would come next on a connection at rest. Its kernel does not know of it."""
    seq, ack = numbers(sock)
    return segment(*ends(sock), flags, seq, ack, payload, damaged)
