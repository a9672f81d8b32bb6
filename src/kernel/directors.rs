//! The daemons of this program that run in this network namespace.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A process that is `ftpdirector run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningDirector {
    /// Its process id.
    pub pid: u32,
    /// Its command line, with a space between the words.
    pub command: String,
}

/// All of them, as far as this process sees processes at all.
///
/// # Errors
/// When it cannot be told of one of them in which namespace it is, or which there are.
pub fn running() -> io::Result<Vec<RunningDirector>> {
    let ours = fs::read_link("/proc/self/ns/net")?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        // It may end at any moment.
        let Ok(command) = fs::read(path.join("cmdline")) else { continue };
        let Some(command) = director(&String::from_utf8_lossy(&command)) else { continue };
        match fs::read_link(path.join("ns/net")) {
            Ok(theirs) if theirs == ours => found.push(RunningDirector { pid, command }),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// The command line of `/proc/PID/cmdline` in one piece, if it is a daemon's.
fn director(cmdline: &str) -> Option<String> {
    let words: Vec<&str> = cmdline.trim_end_matches('\0').split('\0').collect();
    let (program, arguments) = words.split_first()?;
    let named = Path::new(program).file_name().is_some_and(|name| name == "ftpdirector");
    (named && arguments.contains(&"run")).then(|| words.join(" "))
}

/// Whether a daemon answers at an admin socket.
///
/// # Errors
/// When this user may not ask.
pub fn answers(socket: &Path) -> io::Result<bool> {
    match UnixStream::connect(socket) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_told_from_other_commands() {
        for (cmdline, command) in [
            ("/usr/bin/ftpdirector\0run\0", Some("/usr/bin/ftpdirector run")),
            ("ftpdirector\0--config\0/etc/b.yaml\0run\0", Some("ftpdirector --config /etc/b.yaml run")),
            ("ftpdirector\0top\0", None),
            ("/usr/bin/vim\0ftpdirector\0run\0", None),
            ("", None),
        ] {
            assert_eq!(director(cmdline).as_deref(), command, "{cmdline:?}");
        }
    }

    #[test]
    fn nobody_answers_where_nothing_is() {
        assert!(!answers(Path::new("/nonexistent/admin.sock")).expect("no such file"));
    }
}
