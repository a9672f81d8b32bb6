//! The commands that ask the running daemon: from what was typed to lines of text. And `import`, which reads files.

mod explained;
pub mod import;
pub mod request;
mod text;
pub mod top;

use std::io;
use std::path::Path;

use crate::api;
use request::{Ask, ClientError, Wanted};

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
    if let (Format::Text, Ask::Sessions(wanted) | Ask::Pinholes(wanted) | Ask::Trace(wanted)) = (format, ask) {
        names_are_known(socket, wanted)?;
    }
    let mut ended = None;
    // How many events of a trace are still wanted.
    let mut left = if let Ask::Trace(wanted) = ask { wanted.limit } else { None };
    let answered = request::ask(socket, ask, |line| {
        let shown = if format == Format::Json { Ok(format!("{line}\n")) } else { text(socket, ask, line) };
        match shown {
            Ok(text) => print(&text)?,
            Err(error) => ended = Some(Err(error)),
        }
        left = left.map(|left| left.saturating_sub(1));
        if left == Some(0) {
            ended = Some(Ok(()));
        }
        if ended.is_some() { Err(io::Error::from(io::ErrorKind::Interrupted)) } else { Ok(()) }
    });
    ended.unwrap_or(answered)
}

/// A name that nobody has would list nothing, as one does that has no sessions.
fn names_are_known(socket: &Path, wanted: &Wanted) -> Result<(), ClientError> {
    if wanted.cluster.is_none() && wanted.server.is_none() {
        return Ok(());
    }
    let mut answer = Err(ClientError::Broken { socket: socket.to_owned(), why: "it is empty".to_owned() });
    request::ask(socket, &Ask::Status, |line| {
        answer = request::read::<api::Status>(socket, line);
        Ok(())
    })?;
    let clusters = answer?.clusters;
    let listed = |names: Vec<String>| names.join(", ");
    if let Some(name) = wanted.cluster.as_ref().filter(|name| !clusters.iter().any(|cluster| cluster.name == **name)) {
        let all = listed(clusters.into_iter().map(|cluster| cluster.name).collect());
        return Err(ClientError::Refused(format!("no cluster {name}: there are {all}")));
    }
    let within = |cluster: &&api::ClusterStatus| wanted.cluster.as_ref().is_none_or(|name| cluster.name == *name);
    let servers: Vec<String> = clusters
        .iter()
        .filter(within)
        .flat_map(|cluster| cluster.servers.iter().map(|server| format!("{}/{}", server.cluster, server.name)))
        .collect();
    let named = |name: &str| {
        servers.iter().any(|full| full == name || full.split_once('/').is_some_and(|(_, server)| server == name))
    };
    match &wanted.server {
        Some(name) if !named(name) => {
            Err(ClientError::Refused(format!("no server {name}: there are {}", listed(servers))))
        }
        _ => Ok(()),
    }
}

fn text(socket: &Path, ask: &Ask, line: &str) -> Result<String, ClientError> {
    Ok(match ask {
        Ask::Status => text::status(&request::read(socket, line)?),
        Ask::Sessions(_) => text::sessions(&request::read(socket, line)?),
        Ask::Pinholes(_) => text::pinholes(&request::read(socket, line)?),
        Ask::Trace(_) => format!("{}\n", text::trace(&request::read(socket, line)?)),
        Ask::Explain(_) => explained::explanation(&request::read(socket, line)?),
        Ask::Drain(_) | Ask::Undrain(_) => text::drained(&request::read(socket, line)?),
        Ask::Reload => {
            let api::Reloaded { file } = request::read(socket, line)?;
            format!("{file} is in force\n")
        }
    })
}
