//! `GET /metrics`, `/healthz` (the process is alive) and `/readyz` (control packets are read) on `metrics.listen`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::daemon::places::{Places, source};
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

/// Answers until the runtime ends. `scrape` makes the text of `/metrics`, `ready` says what `/readyz` waits for.
pub async fn serve<F, S, G, R>(listener: TcpListener, limits: ConnectionLimits, scrape: S, ready: R)
where
    S: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<String, String>> + Send + 'static,
    R: Fn() -> G + Clone + Send + Sync + 'static,
    G: Future<Output = Result<(), String>> + Send + 'static,
{
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
        let (scrape, ready) = (scrape.clone(), ready.clone());
        tokio::spawn(async move {
            let _place = place;
            connection(stream, limits, scrape, ready).await;
        });
    }
}

/// Serves one connection to its end.
async fn connection<F, S, G, R>(stream: TcpStream, limits: ConnectionLimits, scrape: S, ready: R)
where
    S: Fn() -> F + Clone,
    F: Future<Output = Result<String, String>>,
    R: Fn() -> G + Clone,
    G: Future<Output = Result<(), String>>,
{
    let service = service_fn(move |request| answer(request, scrape.clone(), ready.clone()));
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

async fn answer<F, S, G, R>(
    request: Request<Incoming>,
    scrape: S,
    ready: R,
) -> Result<Response<Full<Bytes>>, Infallible>
where
    S: Fn() -> F,
    F: Future<Output = Result<String, String>>,
    R: Fn() -> G,
    G: Future<Output = Result<(), String>>,
{
    let plain = |status, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    };
    Ok(match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match scrape().await {
            Ok(text) => plain(StatusCode::OK, text),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        (&Method::GET, "/healthz") => plain(StatusCode::OK, "alive\n".into()),
        (&Method::GET, "/readyz") => match ready().await {
            Ok(()) => plain(StatusCode::OK, "ready\n".into()),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        (&Method::GET, _) => plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n".into()),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into()),
    })
}

#[cfg(test)]
mod tests;
