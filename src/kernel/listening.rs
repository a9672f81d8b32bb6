//! The TCP ports that programs of this machine listen on, `ss -ltn`.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};

/// `TCP_LISTEN` and `TCP_CLOSE` of `include/net/tcp_states.h`, as `/proc/net/tcp` prints them.
const LISTEN: &str = "0A";
const CLOSE: &str = "07";

/// Every TCP socket that listens in this network namespace; a socket on every address stands as `0.0.0.0` or `::`
/// (see [`crate::lvs::serves`]).
///
/// # Errors
/// When `/proc` cannot be read; a kernel without IPv6 has no list of its sockets.
pub fn ports() -> io::Result<Vec<SocketAddr>> {
    let mut ports = Vec::new();
    for name in ["/proc/net/tcp", "/proc/net/tcp6"] {
        match File::open(name) {
            Ok(file) => ports.extend(parse(BufReader::new(file).lines().map_while(Result::ok))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && name.ends_with('6') => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ports)
}

/// The listeners stand before all others (`tcp_seq_start`, `net/ipv4/tcp_ipv4.c`): the rest, as many lines as there are
/// connections, is not read. One that is being closed meanwhile may stand among them.
fn parse(lines: impl Iterator<Item = String>) -> Vec<SocketAddr> {
    let sockets = lines.skip(1).map_while(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        matches!(state, LISTEN | CLOSE).then(|| (state == LISTEN).then(|| socket(local)).flatten())
    });
    sockets.flatten().collect()
}

/// `0100007F:0CEA`: the address in words of 32 bits, each as this machine keeps it in memory; the port as a number.
fn socket(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = words.get(at..at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = match words.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut octets = [0; 16];
            for (at, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(8 * at)?);
            }
            IpAddr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `get_tcp4_sock` prints them on x86-64: listeners at 127.0.0.1:3306 and 0.0.0.0:22, one that closes, a connection,
    /// and a listener where none stands any more.
    #[cfg(target_endian = "little")]
    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1087 1 00000000f7f89331 100 0 0 10 0
   1: 0200007F:0CEB 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1087 1 00000000f7f89331 100 0 0 10 0
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1088 1 00000000f7f89332 100 0 0 10 0
   3: 0A00000A:0016 0100000A:D431 01 00000000:00000000 02:000A7D4B 00000000     0        0 1089 2 00000000f7f89333 20 4 29 10 -1
   4: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1090 1 00000000f7f89334 100 0 0 10 0
";

    /// As `get_tcp6_sock` prints them: listeners at `[::]:2121`, `[2001:db8::10]:21` and `[::ffff:192.0.2.10]:990`.
    #[cfg(target_endian = "little")]
    const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0849 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2001 1 0000000000000000 100 0 0 10 0
   1: B80D0120000000000000000010000000:0015 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2002 1 0000000000000000 100 0 0 10 0
   2: 0000000000000000FFFF00000A0200C0:03DE 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2003 1 0000000000000000 100 0 0 10 0
";

    fn read(text: &str) -> Vec<String> {
        parse(text.lines().map(str::to_owned)).iter().map(ToString::to_string).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn listeners_are_read_as_the_kernel_prints_them() {
        assert_eq!(read(TCP), ["127.0.0.1:3306", "0.0.0.0:22"]);
        assert_eq!(read(TCP6), ["[::]:2121", "[2001:db8::10]:21", "192.0.2.10:990"]);
    }

    #[test]
    fn what_is_no_socket_is_left_out() {
        for local in
            ["", ":", "0100007F", "0100007F:", "0100007F:1FFFF", "0100007:0016", "é100007F:0016", "0100007G:0016"]
        {
            let line = format!("header\n 0: {local} 00000000:0000 0A\n 1: 00000000:0016 00000000:0000 0A\n");
            let found = read(&line);
            assert!(found.iter().all(|socket| socket == "0.0.0.0:22"), "{local}: {found:?}");
        }
        assert!(read("").is_empty());
    }

    #[test]
    fn an_own_listener_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let own = listener.local_addr().expect("its address");
        let ports = ports().expect("/proc");
        assert!(ports.contains(&own), "{own} is not in {ports:?}");
    }
}
