//! The configurations of other programs → ours, as far as they are about FTP.
//!
//! ```text
//! text ─ format ─▶ keepalived, ldirectord, piranha, commands (ipvsadm, iptables), nft ─▶ Found
//!                                                                                          │ choose: what is FTP, at which VIPs
//! YAML with comments ◀─ write ◀─ [Draft] with their Ranges ◀─ merge ◀─ [Draft] ◀─ [Front] ◀┘
//! ```
//!
//! Nothing is guessed without a word: what the files do not say, and what is left out of them, is a comment in the result.

mod blocks;
mod check;
mod choose;
mod commands;
mod draft;
mod format;
mod found;
mod iptables;
mod ipvsadm;
mod keepalived;
mod keepalived_check;
mod ldirectord;
mod merge;
mod nft;
mod page;
mod piranha;
mod ranges;
mod result;
mod text;
mod write;

use std::rc::Rc;

pub use format::LARGEST;
pub use found::{ImportError, Include, Includes};
pub use result::Imported;

use found::Found;
use text::shown;

use crate::config::{Format, by_sight};

/// A file to import.
#[derive(Debug)]
pub struct Source {
    /// Its name, for comments and problems.
    pub name: String,
    /// What is in it; of a larger file [`LARGEST`] bytes and one more.
    pub bytes: Vec<u8>,
    /// Its format; `None`: by sight.
    pub format: Option<Format>,
}

/// Reads the files, and writes the FTP services in them as a configuration file of ours.
///
/// # Errors
/// A file cannot be read, or there is no FTP service in them.
pub fn import(sources: &[Source], includes: &Includes<'_>) -> Result<Imported, ImportError> {
    let mut found = Found::default();
    for source in sources {
        read(source, includes, &mut found)?;
    }
    let names: Vec<String> = sources.iter().map(|source| shown(&source.name)).collect();
    result::of(&found, &names.join(", "))
}

fn read(source: &Source, includes: &Includes<'_>, found: &mut Found) -> Result<(), ImportError> {
    let name = shown(&source.name);
    if let Some(what) = format::unreadable(&source.bytes) {
        return Err(ImportError::Unreadable(format!("{name}: this is {what}")));
    }
    let text = String::from_utf8_lossy(&source.bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let file: Rc<str> = name.as_str().into();
    match source.format.or_else(|| by_sight(text).map(|(_, format)| format)) {
        Some(Format::Keepalived) => keepalived::read(&source.name.as_str().into(), text, includes, found)?,
        Some(Format::Ldirectord) => ldirectord::read(&file, text, found),
        Some(Format::Piranha) => piranha::read(&file, text, found)?,
        Some(Format::Ipvsadm | Format::Iptables) => commands::read(&file, text, found),
        Some(Format::Nft) => nft::read(&file, text, found),
        None => return Err(ImportError::Unreadable(format!("{name}: this is {}", format::unknown(text)))),
    }
    Ok(())
}
