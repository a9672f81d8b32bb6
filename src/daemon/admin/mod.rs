//! The admin socket: HTTP/1 and JSON over the Unix socket `admin.socket`, mode 0660, group of the process.
//!
//! | request | answer ([`api`]) |
//! |---|---|
//! | `GET /status` | [`api::Status`] |
//! | `GET /sessions?WANTED&limit=COUNT` | [`api::Sessions`] |
//! | `GET /pinholes?WANTED&limit=COUNT` | [`api::PinholeList`]: the dynamic rows of the kernel |
//! | `GET /explain?client=CLIENT` | [`api::Explanation`]; CLIENT is an address, an address with its port, or `last` |
//! | `GET /trace?WANTED` | [`api::Trace`], one JSON object a line, until the client leaves |
//! | `POST /drain?server=CLUSTER/SERVER` | [`api::Drained`] |
//! | `POST /undrain?server=CLUSTER/SERVER` | [`api::Drained`] |
//! | `POST /reload` | [`api::Reloaded`] |
//! | `GET /ping` | `{}`, whatever else the daemon is doing |
//!
//! WANTED is any of `client=ADDRESS[/LENGTH]`, `cluster=NAME` and `server=[CLUSTER/]SERVER`; without, everything is wanted. COUNT is 1 to
//! 100,000, and 10,000 without.
//!
//! Everything else, and whatever goes wrong, is a status of 400 or more with [`api::ErrorBody`]: 400 a query that makes
//! no sense, 404 no such server or path, 405 another method, 422 a reload or drain that was refused (nothing changed),
//! 429 too many connections are open or eight traces are listening already, 503 the daemon is ending.
//!
//! ```text
//! curl --unix-socket /run/ftpdirector/admin.sock http://ftpdirector/status
//! curl --unix-socket /run/ftpdirector/admin.sock -X POST 'http://ftpdirector/drain?server=downloads/ftp1'
//! ```

mod explained;
mod facts;
mod lines;
mod query;
mod rows;
mod socket;
mod status;
#[cfg(test)]
mod tests;
mod traced;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tracing::debug;

pub use facts::{Belief, DaemonFacts, Kernels};
pub use socket::{Socket, bind};
pub use status::Sources;

use super::command::DaemonCommand;
use super::messages::{Message, Packets};
use super::metrics::observe::Observed;
use super::places::Places;
use super::repeated::Repeated;
use super::serving::{ConnectionLimits, accepted};
use super::trace_subscribers::{BEHIND, Listener};
use crate::api;
use crate::director::{Filter, Page, Snapshot};
use lines::Lines;
use query::{CLIENT, CLUSTER, LIMIT, Query, SERVER};

/// The limits of `admin.socket`; a trace may last longer than `whole`.
pub const LIMITS: ConnectionLimits =
    ConnectionLimits { most: 32, each: 24, silence: Duration::from_secs(5), whole: Duration::from_secs(60) };

/// How many of those beyond the limit are told so at once; the rest is closed.
const REFUSALS: usize = 8;

/// How many connections may be traces, which do not end by themselves.
const TRACES: usize = 8;

/// Of how many rows at most it is said which session they are there for.
const HOLDERS: usize = 100_000;

/// How long the packet thread may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What the answers are made of.
pub struct AdminState<F> {
    facts: Arc<F>,
    packets: Packets,
    commands: mpsc::Sender<DaemonCommand>,
    file: Arc<str>,
    started: Instant,
    traces: Arc<Semaphore>,
}

// Not derived: that would ask for `F: Clone`.
impl<F> Clone for AdminState<F> {
    fn clone(&self) -> Self {
        let Self { facts, packets, commands, file, started, traces } = self;
        Self {
            facts: Arc::clone(facts),
            packets: packets.clone(),
            commands: commands.clone(),
            file: Arc::clone(file),
            started: *started,
            traces: Arc::clone(traces),
        }
    }
}

type HttpAnswer = Response<Either<Full<Bytes>, Lines>>;

/// What the packet thread listed.
struct Pages<T> {
    /// How many sessions there are.
    total: usize,
    /// How many entries there are.
    matching: usize,
    /// The first of them.
    listed: Vec<T>,
}

/// Why a request fails.
struct Refusal(StatusCode, String);

/// Answers until the runtime ends.
pub async fn serve<F: DaemonFacts>(listener: UnixListener, limits: ConnectionLimits, state: AdminState<F>) {
    let places = Places::new(limits.most, limits.each);
    let refusals = Places::new(REFUSALS, REFUSALS);
    let mut deaf = Repeated::default();
    loop {
        let (stream, _) = accepted(|cx| listener.poll_accept(cx), "the admin socket", &mut deaf).await;
        // Only root and the group's members may connect.
        let user = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
        if let Some(place) = places.take(user) {
            let state = state.clone();
            tokio::spawn(async move {
                let _place = place;
                let streams = AtomicBool::new(false);
                connection(stream, limits, &streams, async |request| {
                    let answer = state.answer(&request).await;
                    streams.store(matches!(answer.body(), Either::Right(_)), Ordering::Relaxed);
                    answer
                })
                .await;
            });
        } else if let Some(place) = refusals.take(user) {
            tokio::spawn(async move {
                let _place = place;
                let short = ConnectionLimits { whole: limits.silence, ..limits };
                connection(stream, short, &AtomicBool::new(false), async |_| crowded(limits)).await;
            });
        }
    }
}

/// Serves one connection to its end; only a connection that `streams`, a trace, may last.
async fn connection<A>(
    stream: UnixStream,
    limits: ConnectionLimits,
    streams: &AtomicBool,
    answer: impl Fn(Request<Incoming>) -> A,
) where
    A: Future<Output = HttpAnswer>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.silence);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = match timeout(limits.whole, connection.as_mut()).await {
        Ok(ended) => ended,
        Err(_) if streams.load(Ordering::Relaxed) => connection.await,
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.silence, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an admin connection ended");
    }
}

fn crowded(ConnectionLimits { most, each, .. }: ConnectionLimits) -> HttpAnswer {
    let error = format!("too many open connections, at most {each} of one user and {most} in all: close one of them");
    let mut answer = json(StatusCode::TOO_MANY_REQUESTS, &api::ErrorBody { error });
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

impl<F: DaemonFacts> AdminState<F> {
    /// What the answers are made of; `file` is the configuration's.
    #[must_use]
    pub fn new(facts: F, packets: Packets, commands: mpsc::Sender<DaemonCommand>, file: &Path) -> Self {
        let file = file.display().to_string().into();
        let traces = Arc::new(Semaphore::new(TRACES));
        Self { facts: Arc::new(facts), packets, commands, file, started: Instant::now(), traces }
    }

    async fn answer(&self, request: &Request<Incoming>) -> HttpAnswer {
        let answered = self.route(request).await;
        answered.unwrap_or_else(|Refusal(status, error)| json(status, &api::ErrorBody { error }))
    }

    async fn route(&self, request: &Request<Incoming>) -> Result<HttpAnswer, Refusal> {
        let bad = |error| Refusal(StatusCode::BAD_REQUEST, error);
        let query = |known| Query::parse(request.uri().query().unwrap_or_default(), known).map_err(bad);
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/ping") => query(&[]).map(|_| good(&BTreeMap::<(), ()>::new())),
            (&Method::GET, "/status") => {
                query(&[])?;
                self.status().await
            }
            (&Method::GET, "/sessions") => {
                let query = query(&[CLIENT, CLUSTER, SERVER, LIMIT])?;
                self.sessions(query.filter().map_err(bad)?, query.limit().map_err(bad)?).await
            }
            (&Method::GET, "/pinholes") => {
                let query = query(&[CLIENT, CLUSTER, SERVER, LIMIT])?;
                self.pinholes(query.filter().map_err(bad)?, query.limit().map_err(bad)?).await
            }
            (&Method::GET, "/explain") => self.explain(&query(&[CLIENT])?).await,
            (&Method::GET, "/trace") => self.trace(query(&[CLIENT, CLUSTER, SERVER])?.filter().map_err(bad)?),
            (&Method::POST, "/drain") => self.drain(&query(&[SERVER])?, true).await,
            (&Method::POST, "/undrain") => self.drain(&query(&[SERVER])?, false).await,
            (&Method::POST, "/reload") => {
                query(&[])?;
                self.command(DaemonCommand::Reload).await?;
                Ok(good(&api::Reloaded { file: self.file.to_string() }))
            }
            (_, "/ping" | "/status" | "/sessions" | "/pinholes" | "/explain" | "/trace") => {
                Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "use GET".into()))
            }
            (_, "/drain" | "/undrain" | "/reload") => Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "use POST".into())),
            (_, path) => Err(Refusal(StatusCode::NOT_FOUND, format!("unknown path {path}"))),
        }
    }

    async fn status(&self) -> Result<HttpAnswer, Refusal> {
        let (belief, snapshot, counted) = self.sources().await?;
        let sources = Sources::new(&belief, &snapshot, &counted);
        Ok(good(&sources.status(&self.file, self.started.elapsed().as_secs())))
    }

    /// What the packet thread lists, page by page so that packets do not wait for the whole: at most `most` of it.
    async fn pages<T>(
        &self,
        page: impl Fn(u32, oneshot::Sender<Page<T>>) -> Message,
        most: usize,
    ) -> Result<Pages<T>, Refusal> {
        let (mut listed, mut matching, mut from) = (Vec::new(), 0_usize, 0);
        loop {
            let Page { total, items, next } = self.ask(|answer| page(from, answer)).await?;
            matching = matching.saturating_add(items.len());
            listed.extend(items.into_iter().take(most.saturating_sub(listed.len())));
            let Some(next) = next else { return Ok(Pages { total, matching, listed }) };
            from = next;
        }
    }

    async fn sessions(&self, wanted: Filter, limit: usize) -> Result<HttpAnswer, Refusal> {
        let wanted = Arc::new(wanted);
        let page = |from, answer| Message::Sessions(from, Arc::clone(&wanted), answer);
        let Pages { total, matching, listed } = self.pages(page, limit).await?;
        Ok(good(&rows::sessions((total, matching), listed)))
    }

    async fn pinholes(&self, wanted: Filter, limit: usize) -> Result<HttpAnswer, Refusal> {
        let holders = self.pages(Message::Holders, HOLDERS).await?.listed;
        let facts = Arc::clone(&self.facts);
        let pinholes = blocking(move || {
            let dumps = facts.dynamic()?;
            Ok(rows::pinholes(&facts.belief(), &dumps, holders, (&wanted, limit)))
        });
        let failed = |error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error);
        Ok(good(&pinholes.await?.map_err(failed)?))
    }

    async fn explain(&self, query: &Query) -> Result<HttpAnswer, Refusal> {
        let (asked, whom) = query.whom().map_err(|error| Refusal(StatusCode::BAD_REQUEST, error))?;
        let account = self.ask(|answer| Message::Explain(whom, answer)).await?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let facts = Arc::clone(&self.facts);
        let explain = move || explained::explanation(asked, &account, &facts.belief(), wall);
        Ok(good(&blocking(explain).await?))
    }

    fn trace(&self, filter: Filter) -> Result<HttpAnswer, Refusal> {
        let Ok(place) = Arc::clone(&self.traces).try_acquire_owned() else {
            let why = format!("too many traces, at most {TRACES}: end one of them");
            return Err(Refusal(StatusCode::TOO_MANY_REQUESTS, why));
        };
        let (line, heard) = mpsc::channel(BEHIND);
        if !self.packets.tell(Message::Listen(Listener::new(filter, line))) {
            return Err(gone());
        }
        Ok(with_type(Response::new(Either::Right(Lines { heard, _place: place })), "application/x-ndjson"))
    }

    async fn drain(&self, query: &Query, drained: bool) -> Result<HttpAnswer, Refusal> {
        let server = query.server_name().map_err(|error| Refusal(StatusCode::BAD_REQUEST, error))?;
        let belief = self.facts.belief();
        let known = belief.config.clusters.iter().find(|cluster| cluster.name == server.0);
        if !known.is_some_and(|cluster| cluster.real_servers.iter().any(|known| known.name == server.1)) {
            return Err(Refusal(StatusCode::NOT_FOUND, unknown(&server, &belief)));
        }
        let name = server.clone();
        self.command(|answer| DaemonCommand::Drain { server: name, drained, answer }).await?;
        let (belief, snapshot, counted) = self.sources().await?;
        let sources = Sources::new(&belief, &snapshot, &counted);
        let servers = belief
            .config
            .clusters
            .iter()
            .flat_map(|cluster| cluster.real_servers.iter().map(move |server| (cluster, server)));
        let mut same = servers.filter(|(cluster, of)| cluster.name == server.0 && of.name == server.1);
        // A reload may have taken it away this very moment.
        let (cluster, of) = same.next().ok_or_else(|| Refusal(StatusCode::NOT_FOUND, unknown(&server, &belief)))?;
        Ok(good(&api::Drained { server: sources.server(cluster, of) }))
    }

    /// Tells the daemon to do something, and waits until it is done.
    async fn command(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), String>>) -> DaemonCommand,
    ) -> Result<(), Refusal> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| gone())?;
        let refused = |error| Refusal(StatusCode::UNPROCESSABLE_ENTITY, error);
        answered.await.map_err(|_| gone())?.map_err(refused)
    }

    async fn sources(&self) -> Result<(Belief, Snapshot, Result<Observed, String>), Refusal> {
        let snapshot = self.ask(Message::Snapshot).await?;
        let facts = Arc::clone(&self.facts);
        let (belief, counted) = blocking(move || {
            let belief = facts.belief();
            let counted = facts.counted(&belief);
            (belief, counted)
        })
        .await?;
        Ok((belief, snapshot, counted))
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, Refusal> {
        let late = |_| {
            Refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "the packet thread does not answer: see the log of the daemon".into(),
            )
        };
        timeout(ANSWER, self.packets.ask(question)).await.map_err(late)?.ok_or_else(gone)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let failed = |error: tokio::task::JoinError| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    tokio::task::spawn_blocking(work).await.map_err(failed)
}

fn gone() -> Refusal {
    Refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "the daemon is ending, or its packet thread has failed: see its log".into(),
    )
}

fn unknown((cluster, server): &(String, String), belief: &Belief) -> String {
    if let Some(named) = belief.by_name.iter().find(|of| of.cluster == *cluster && of.server == *server) {
        return format!("{cluster}/{server} is left out: {} has no address", named.host.name);
    }
    let servers = belief
        .config
        .clusters
        .iter()
        .flat_map(|of| of.real_servers.iter().map(move |server| format!("{}/{}", of.name, server.name)));
    format!("unknown server {cluster}/{server}; known are {}", servers.collect::<Vec<_>>().join(", "))
}

fn good(body: &impl Serialize) -> HttpAnswer {
    json(StatusCode::OK, body)
}

fn json(status: StatusCode, body: &impl Serialize) -> HttpAnswer {
    let mut text = serde_json::to_vec(body).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    with_type(response, "application/json")
}

fn with_type(mut response: HttpAnswer, kind: &'static str) -> HttpAnswer {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
