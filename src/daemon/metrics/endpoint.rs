//! `GET /` (the page for people), `/metrics`, `/healthz` (the process is alive) and `/readyz` (control packets are read) on
//! `metrics.listen`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::daemon::places::{Places, Seat, source};
use crate::daemon::repeated::Repeated;
use crate::daemon::serving::{ConnectionLimits, accepted};

/// The limits of `metrics.listen`; one address has room for two Prometheus and a person, all on this machine perhaps.
pub const LIMITS: ConnectionLimits =
    ConnectionLimits { most: 16, each: 4, silence: Duration::from_secs(5), whole: Duration::from_secs(30) };

/// Connections that the kernel may hold for us: they are taken at once, or else the daemon is stuck.
const BACKLOG: i32 = 32;

/// Listens on `address`, also before this machine has it: at boot, or until a VRRP state brings it (`IP_FREEBIND`, ip(7)).
///
/// # Errors
/// Those of bind(2) but EADDRNOTAVAIL.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv4() {
        socket.set_freebind_v4(true)?
    } else {
        socket.set_freebind_v6(true)?
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// With every answer: what is served is what it says to be, and of now.
const ALWAYS: [(&str, &str); 2] = [("x-content-type-options", "nosniff"), ("cache-control", "no-store")];

/// With the page: no script, no picture, nothing from elsewhere, in nobody's frame.
const PAGE: [(&str, &str); 2] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
];

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text that is being made, or why there is none.
pub type Making = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// What makes a text whenever it is asked for.
pub type Maker = Box<dyn Fn() -> Making + Send + Sync>;

/// Where the answers come from.
pub struct Answers {
    /// The page for people, HTML.
    pub page: Maker,
    /// The text of `/metrics`.
    pub metrics: Maker,
    /// What `/readyz` says; an error is what it waits for.
    pub ready: Maker,
}

/// Makes a [`Maker`] of a function.
pub fn maker<F>(make: impl Fn() -> F + Send + Sync + 'static) -> Maker
where
    F: Future<Output = Result<String, String>> + Send + 'static,
{
    Box::new(move || Box::pin(make()))
}

/// Answers until the runtime ends.
pub async fn serve(listener: TcpListener, limits: ConnectionLimits, answers: Answers) {
    let answers = Arc::new(answers);
    let places = Places::new(limits.most, limits.each);
    let (mut deaf, mut crowded) = (Repeated::default(), Repeated::default());
    loop {
        let (stream, from) = accepted(|cx| listener.poll_accept(cx), "the metrics endpoint", &mut deaf).await;
        let Some(place) = places.take(source(from.ip())) else {
            if let Some(kept_back) = crowded.say(Instant::now()) {
                let ConnectionLimits { most, each, .. } = limits;
                warn!(
                    from = %from.ip(), kept_back,
                    "metrics.listen: a connection was closed: {each} of one address and {most} in all are served at once"
                );
            }
            continue;
        };
        let answers = Arc::clone(&answers);
        tokio::spawn(connection(stream, limits, answers, Arc::new(place)));
    }
}

/// Serves one connection to its end.
async fn connection(stream: TcpStream, limits: ConnectionLimits, answers: Arc<Answers>, place: Arc<Seat<IpAddr>>) {
    let service = service_fn(|request| answer(request, &answers, &place));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.silence).keep_alive(true);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = match timeout(limits.whole, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) => {
            // A scraper that comes again and again on one connection is told so, and makes another.
            connection.as_mut().graceful_shutdown();
            timeout(limits.silence, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a metrics connection ended");
    }
}

/// Makes a text to its end also when the asker has gone: it has been begun, and until it is made the asker's place is taken. So who
/// asks and leaves, again and again, has no more made than who waits.
async fn made(making: Making, place: &Arc<Seat<IpAddr>>) -> Result<String, String> {
    let place = Arc::clone(place);
    let made = tokio::spawn(async move {
        let text = making.await;
        drop(place);
        text
    });
    made.await.map_err(|error| error.to_string())?
}

async fn answer(
    request: Request<Incoming>,
    answers: &Answers,
    place: &Arc<Seat<IpAddr>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let plain = |status, text: String| response(status, (TEXT, text), &[]);
    let error = StatusCode::INTERNAL_SERVER_ERROR;
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => match made((answers.page)(), place).await {
            Ok(page) => response(StatusCode::OK, ("text/html; charset=utf-8", page), &PAGE),
            Err(why) => plain(error, format!("{why}\n")),
        },
        (&Method::GET, "/metrics") => match made((answers.metrics)(), place).await {
            Ok(text) => plain(StatusCode::OK, text),
            Err(why) => plain(error, format!("{why}\n")),
        },
        (&Method::GET, "/healthz") => plain(StatusCode::OK, "alive\n".into()),
        (&Method::GET, "/readyz") => match made((answers.ready)(), place).await {
            Ok(text) => plain(StatusCode::OK, text),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        (&Method::GET, _) => plain(StatusCode::NOT_FOUND, "metrics are at /metrics, a page for people at /\n".into()),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into()),
    })
}

fn response(
    status: StatusCode,
    (kind, text): (&'static str, String),
    more: &[(&'static str, &'static str)],
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for &(name, value) in ALWAYS.iter().chain(more) {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
