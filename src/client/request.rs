//! The other end of the admin socket: what `ftpdirector status`, `drain` and the others ask the running daemon.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::api::ErrorBody;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens at the socket.
    #[error(
        "no daemon answers at {}: {error}: start it (systemctl start ftpdirector), or name its socket with --socket",
        socket.display()
    )]
    Nobody {
        /// Path of the admin socket.
        socket: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The socket's mode (0660) does not let us connect.
    #[error("{}: {error}: run as root, or as a member of the socket's group", socket.display())]
    Permission {
        /// Path of the admin socket.
        socket: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The daemon says no.
    #[error("{0}")]
    Refused(String),
    /// A daemon is there, but says nothing.
    #[error(
        "the daemon at {} does not answer within {} seconds: it is stopped, or busy with a reload \
         (systemctl status ftpdirector, and its log)",
        socket.display(), after.as_secs()
    )]
    Silent {
        /// Path of the admin socket.
        socket: PathBuf,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection broke, or what came makes no sense.
    #[error("{}: the daemon's answer: {why}", socket.display())]
    Broken {
        /// Path of the admin socket.
        socket: PathBuf,
        /// What in the answer cannot be read.
        why: String,
    },
    /// The answer cannot be shown.
    #[error("standard output: {0}")]
    Output(io::Error),
}

impl ClientError {
    /// The sysexits code of a process that ends with this error.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Nobody { .. } | Self::Silent { .. } => 69,
            Self::Permission { .. } => 77,
            Self::Broken { .. } | Self::Output(_) => 70,
        }
    }
}

/// Which sessions are asked for; a field that is `None` matches every session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The network of the clients' addresses.
    pub client: Option<IpNet>,
    /// The cluster.
    pub cluster: Option<String>,
    /// The real server, `[CLUSTER/]SERVER`.
    pub server: Option<String>,
    /// How many sessions, rows or events at most.
    pub limit: Option<u32>,
}

impl Wanted {
    /// As the query of a request; `limit` only where the daemon knows it.
    fn query(&self, limit: Option<u32>) -> String {
        let text = |name: &str, value: Option<String>| value.map(|value| format!("{name}={}", escape(&value)));
        let parts = [
            text("client", self.client.map(|client| client.to_string())),
            text("cluster", self.cluster.clone()),
            text("server", self.server.clone()),
            text("limit", limit.map(|limit| limit.to_string())),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("&")
    }
}

/// A request to the admin socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `GET /status`, for `status` and `top`
    Status,
    /// `GET /sessions`
    Sessions(Wanted),
    /// `GET /pinholes`
    Pinholes(Wanted),
    /// `GET /trace`, until there were as many events as are wanted
    Trace(Wanted),
    /// `GET /explain`, of a client: address, address and port, or `last`
    Explain(String),
    /// `POST /drain`
    Drain(String),
    /// `POST /undrain`
    Undrain(String),
    /// `POST /reload`
    Reload,
}

impl Ask {
    fn request(&self) -> (Method, String) {
        match self {
            Self::Status => (Method::GET, "/status".into()),
            Self::Sessions(wanted) => (Method::GET, format!("/sessions?{}", wanted.query(wanted.limit))),
            Self::Pinholes(wanted) => (Method::GET, format!("/pinholes?{}", wanted.query(wanted.limit))),
            Self::Trace(wanted) => (Method::GET, format!("/trace?{}", wanted.query(None))),
            Self::Explain(client) => (Method::GET, format!("/explain?client={}", escape(client))),
            Self::Drain(server) => (Method::POST, format!("/drain?server={}", escape(server))),
            Self::Undrain(server) => (Method::POST, format!("/undrain?server={}", escape(server))),
            Self::Reload => (Method::POST, "/reload".into()),
        }
    }
}

/// Sends a request, and hands every line of the answer to `each` as it comes, until the daemon ends it or `each` fails.
///
/// # Errors
/// Why there is no answer.
pub fn ask(socket: &Path, ask: &Ask, each: impl FnMut(&str) -> io::Result<()>) -> Result<(), ClientError> {
    let broken = |why: String| ClientError::Broken { socket: socket.to_owned(), why };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| broken(error.to_string()))?.block_on(exchange(socket, ask, each))
}

/// Parses a line of an answer.
///
/// # Errors
/// When the line is no `T`: the daemon is of another version.
pub fn read<T: DeserializeOwned>(socket: &Path, line: &str) -> Result<T, ClientError> {
    serde_json::from_str(line)
        .map_err(|error| ClientError::Broken { socket: socket.to_owned(), why: format!("{error}: {line}") })
}

/// As [`ask`], for a caller that has a runtime.
///
/// # Errors
/// Why there is no answer.
pub async fn exchange(
    socket: &Path,
    ask: &Ask,
    mut each: impl FnMut(&str) -> io::Result<()>,
) -> Result<(), ClientError> {
    let broken = |why: String| ClientError::Broken { socket: socket.to_owned(), why };
    let response = send(socket, ask).await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut rest = Vec::new();
    let mut refusal = String::new();
    // A trace has something to say when something happens.
    let patience = (!matches!(ask, Ask::Trace(_))).then_some(ANSWER);
    while let Some(frame) = within(socket, patience, body.frame()).await? {
        let frame = frame.map_err(|error| broken(error.to_string()))?;
        let Some(data) = frame.data_ref() else { continue };
        rest.extend_from_slice(data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if status.is_success() {
                each(line.trim_end()).map_err(ClientError::Output)?;
            } else {
                refusal.push_str(&line);
            }
        }
    }
    if status.is_success() {
        return Ok(());
    }
    let said = serde_json::from_str::<ErrorBody>(&refusal).map(|failure| failure.error);
    Err(ClientError::Refused(said.unwrap_or_else(|_| format!("{status} {refusal}"))))
}

/// How long a daemon may take to say that it is there.
const ALIVE: Duration = Duration::from_secs(5);
/// How long it may then take to do what it is asked, or to say the next part of it.
const ANSWER: Duration = Duration::from_secs(60);

/// Waits for the daemon, not for ever.
async fn within<T>(socket: &Path, patience: Option<Duration>, what: impl Future<Output = T>) -> Result<T, ClientError> {
    match patience {
        None => Ok(what.await),
        Some(after) => timeout(after, what).await.map_err(|_| ClientError::Silent { socket: socket.to_owned(), after }),
    }
}

/// Sends a request; first one that a daemon answers whatever it is doing, so that one that does not answer is soon noticed.
async fn send(socket: &Path, ask: &Ask) -> Result<Response<Incoming>, ClientError> {
    let broken = |error: hyper::Error| ClientError::Broken { socket: socket.to_owned(), why: error.to_string() };
    let connected = within(socket, Some(ALIVE), UnixStream::connect(socket)).await?;
    let stream = connected.map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => ClientError::Permission { socket: socket.to_owned(), error },
        _ => ClientError::Nobody { socket: socket.to_owned(), error },
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let request = |method, path: String| {
        let request = Request::builder().method(method).uri(path).header("host", "ftpdirector");
        let request = request.body(Empty::<Bytes>::new());
        request.map_err(|error| ClientError::Broken { socket: socket.to_owned(), why: error.to_string() })
    };
    let alive = sender.send_request(request(Method::GET, "/ping".into())?);
    let alive = within(socket, Some(ALIVE), alive).await?.map_err(broken)?;
    // A daemon that is older than this request does not know it.
    if !alive.status().is_success() && alive.status() != StatusCode::NOT_FOUND {
        return Ok(alive);
    }
    within(socket, Some(ALIVE), alive.into_body().collect()).await?.map_err(broken)?;
    let (method, path) = ask.request();
    within(socket, Some(ANSWER), sender.send_request(request(method, path)?)).await?.map_err(broken)
}

/// What may stand in a query as it is (RFC 3986 §3.4), without what has a meaning here.
const PLAIN: &[u8] = b"-._~:/@!$'()*,;";

/// `%XX` for whatever may not stand in a query.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
