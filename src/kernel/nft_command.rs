//! The ruleset as text, through nft(8): what `plan` prints is what the kernel gets.

use std::io::{self, Write as _};
use std::process::{Command, Output, Stdio};
use std::thread;

use super::KernelError;

/// The oldest nft(8) whose syntax we write.
const NFT: (u32, u32, u32) = (1, 0, 6);

/// Applies a ruleset in one transaction: `nft -f -`.
///
/// # Errors
/// `Missing` without nft(8); `Nft` with its words when it, or the kernel, refuses.
pub fn apply(text: &str) -> Result<(), KernelError> {
    nft(&["-f", "-"], text).map(|_| ())
}

/// Whether this kernel would take a ruleset: `nft -c -f -`. Nothing is committed.
///
/// # Errors
/// As `apply`.
pub fn check(text: &str) -> Result<(), KernelError> {
    nft(&["-c", "-f", "-"], text).map(|_| ())
}

/// The version of nft(8); 1.0.6 at least.
///
/// # Errors
/// `Missing` when there is none or it is older.
pub fn nft_version() -> Result<(u32, u32, u32), KernelError> {
    let text = nft(&["--version"], "")?;
    let version = text.split_whitespace().find_map(version_of);
    at_least(version, NFT).ok_or_else(|| KernelError::Missing {
        what: format!("nft 1.0.6 or later is needed, this is '{}'", text.trim()),
        cure: "upgrade the nftables package".to_owned(),
    })
}

fn at_least<T: PartialOrd>(version: Option<T>, wanted: T) -> Option<T> {
    version.filter(|version| *version >= wanted)
}

/// The numbers of `v1.0.6`, `v1.1`.
fn version_of(word: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = word.trim_start_matches('v').split('.').map(|number| {
        let digits = number.find(|c: char| !c.is_ascii_digit()).map_or(number, |end| &number[..end]);
        digits.parse::<u32>().ok()
    });
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or_default()))
}

/// Runs nft(8); its standard output.
fn nft(arguments: &[&str], input: &str) -> Result<String, KernelError> {
    let tried = format!("nft {}", arguments.join(" "));
    let output = run(arguments, input).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => KernelError::Missing {
            what: "the program nft is not in PATH".to_owned(),
            cure: "install the nftables package".to_owned(),
        },
        _ => KernelError::io(&tried, &e),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if said.contains("Operation not permitted") {
        return Err(KernelError::Permission { tried, errno: super::Errno::EPERM });
    }
    Err(KernelError::Nft { tried, said: if said.is_empty() { output.status.to_string() } else { said } })
}

fn run(arguments: &[&str], input: &str) -> io::Result<Output> {
    let mut child = Command::new("nft")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take();
    // On a thread of its own: nft may write much before it has read all.
    thread::scope(|scope| {
        scope.spawn(move || {
            // nft that stops reading says why in its output.
            let _ = stdin.map(|mut stdin| stdin.write_all(input.as_bytes()));
        });
        child.wait_with_output()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version_of("v1.0.6"), Some((1, 0, 6)));
        assert_eq!(version_of("v1.1-rc3"), Some((1, 1, 0)));
        assert_eq!(version_of("nftables"), None);
    }

    #[test]
    fn old_versions_are_refused() {
        assert_eq!(at_least(Some((1, 0, 5)), NFT), None);
        assert_eq!(at_least(Some((1, 1, 0)), NFT), Some((1, 1, 0)));
        assert_eq!(at_least(None, NFT), None);
    }
}
