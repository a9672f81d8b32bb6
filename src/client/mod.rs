//! The commands that ask the running daemon: from what was typed to lines of text.

pub mod request;
mod text;
pub mod top;

use std::io;
use std::path::Path;

use crate::api;
use request::{Ask, ClientError};

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Tables and sentences, for people.
    Text,
    /// As the daemon sent it, one JSON object a line.
    Json,
}

/// Asks the daemon behind `socket`; every piece of the answer goes to `print` as it comes, with its line end.
///
/// # Errors
/// Why there is no answer.
pub fn run(
    socket: &Path,
    ask: &Ask,
    format: Format,
    mut print: impl FnMut(&str) -> io::Result<()>,
) -> Result<(), ClientError> {
    let mut wrong = None;
    let answered = request::ask(socket, ask, |line| {
        if format == Format::Json {
            return print(&format!("{line}\n"));
        }
        match text(socket, ask, line) {
            Ok(text) => print(&text),
            Err(error) => {
                wrong = Some(error);
                Err(io::Error::from(io::ErrorKind::InvalidData))
            }
        }
    });
    match wrong {
        Some(error) => Err(error),
        None => answered,
    }
}

fn text(socket: &Path, ask: &Ask, line: &str) -> Result<String, ClientError> {
    Ok(match ask {
        Ask::Status => text::status(&request::read(socket, line)?),
        Ask::Sessions => text::sessions(&request::read(socket, line)?),
        Ask::Pinholes => text::pinholes(&request::read(socket, line)?),
        Ask::Trace { .. } => format!("{}\n", text::trace(&request::read(socket, line)?)),
        Ask::Drain(_) | Ask::Undrain(_) => text::drained(&request::read(socket, line)?),
        Ask::Reload => {
            let api::Reloaded { file } = request::read(socket, line)?;
            format!("{file} is in force\n")
        }
    })
}
