//! `GET /metrics`, `/healthz` (the process is alive) and `/readyz` (control packets are read) on `metrics.listen`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// How many scrapes are answered at once; more wait.
const MOST: usize = 16;

/// How long a connection may take, from its first byte to the answer's last.
const PATIENCE: Duration = Duration::from_secs(30);

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
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

/// Answers until the runtime ends. `scrape` makes the text of `/metrics`, `ready` says what `/readyz` waits for.
pub async fn serve<F, S, G, R>(listener: TcpListener, scrape: S, ready: R)
where
    S: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<String, String>> + Send + 'static,
    R: Fn() -> G + Clone + Send + Sync + 'static,
    G: Future<Output = Result<(), String>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MOST));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, mostly: it passes when a connection ends.
                warn!(%error, "the metrics endpoint cannot accept");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let (scrape, ready, places) = (scrape.clone(), ready.clone(), Arc::clone(&places));
        tokio::spawn(async move {
            let Ok(_place) = places.acquire().await else { return };
            let service = service_fn(move |request| answer(request, scrape.clone(), ready.clone()));
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(5)).keep_alive(true);
            let connection = http.serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, connection).await {
                debug!(%error, "a metrics connection ended");
            }
        });
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
