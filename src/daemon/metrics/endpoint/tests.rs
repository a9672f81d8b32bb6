use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

/// Runs `test` beside an endpoint.
fn served<T: Future<Output = ()>>(limits: ConnectionLimits, test: impl FnOnce(SocketAddr) -> T) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let text = |text: &'static str| maker(move || async move { Ok(text.to_owned()) });
        let answers = Answers { page: text("<p>all is well"), metrics: text("up 1\n"), ready: text("ready\n") };
        tokio::spawn(serve(listener, limits, answers));
        timeout(LONG, test(address)).await.expect("an end");
    });
}

async fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).await.expect("a connection")
}

/// Asks on a connection; whether there was an answer.
async fn scrape(stream: &mut TcpStream) -> bool {
    let request = b"GET /metrics HTTP/1.1\r\nHost: director\r\n\r\n";
    if stream.write_all(request).await.is_err() {
        return false;
    }
    let mut read = Vec::new();
    while !read.ends_with(b"up 1\n") {
        if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
            return false;
        }
    }
    true
}

/// Until the other side closes, or resets.
async fn ends(mut stream: TcpStream) {
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
}

#[test]
fn who_says_nothing_is_closed() {
    served(ConnectionLimits { silence: SHORT, whole: LONG * 2, ..LIMITS }, async |address| {
        ends(connect(address).await).await;
        let mut half = connect(address).await;
        half.write_all(b"GET /metrics HTTP/1.1\r\n").await.expect("half a request");
        ends(half).await;
    });
}

#[test]
fn who_comes_beyond_the_limit_is_closed_at_once_and_the_others_are_served() {
    for limits in [ConnectionLimits { each: 2, ..LIMITS }, ConnectionLimits { most: 2, ..LIMITS }] {
        served(ConnectionLimits { silence: LONG * 2, whole: LONG * 2, ..limits }, async |address| {
            let (mut scraper, idle) = (connect(address).await, connect(address).await);
            assert!(scrape(&mut scraper).await);
            for _ in 0..40 {
                ends(connect(address).await).await;
            }
            assert!(scrape(&mut scraper).await, "on the same connection");
            // A place that is free again is somebody else's.
            drop(idle);
            while !scrape(&mut connect(address).await).await {}
        });
    }
}

#[test]
fn nobody_stays_for_ever() {
    served(ConnectionLimits { whole: SHORT, ..LIMITS }, async |address| {
        let mut scraper = connect(address).await;
        assert!(scrape(&mut scraper).await);
        while scrape(&mut scraper).await {}
        assert!(scrape(&mut connect(address).await).await, "on another connection");
    });
}

/// The whole answer to one request.
async fn ask(to: SocketAddr, path: &str) -> String {
    let mut stream = connect(to).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: director\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut read = String::new();
    stream.read_to_string(&mut read).await.expect("an answer");
    read
}

#[test]
fn the_page_may_do_nothing_and_is_never_kept() {
    served(LIMITS, async |address| {
        let page = ask(address, "/").await;
        assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("\r\n\r\n<p>all is well"), "{page}");
        for header in [
            "content-type: text/html; charset=utf-8",
            "content-security-policy: default-src 'none'; style-src 'unsafe-inline'; ",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(page.contains(&format!("\r\n{header}")), "no {header} in\n{page}");
        }
        let metrics = ask(address, "/metrics").await;
        assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{metrics}");
        assert!(ask(address, "/readyz").await.ends_with("ready\n"));
        let lost = ask(address, "/%3Cscript%3E").await;
        assert!(lost.starts_with("HTTP/1.1 404") && !lost.contains("script"), "{lost}");
    });
}

#[test]
fn who_asks_and_leaves_has_a_place_until_its_answer_is_made() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let (begun, go) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
        let (began, goes) = (Arc::clone(&begun), Arc::clone(&go));
        let slow = maker(move || {
            let (begun, go) = (Arc::clone(&began), Arc::clone(&goes));
            async move {
                begun.add_permits(1);
                go.acquire().await.expect("leave").forget();
                Ok("up 1\n".to_owned())
            }
        });
        let none = || maker(|| async { Ok(String::new()) });
        let answers = Answers { page: none(), metrics: slow, ready: none() };
        tokio::spawn(serve(listener, ConnectionLimits { each: 1, ..LIMITS }, answers));
        let mut leaves = connect(address).await;
        leaves.write_all(b"GET /metrics HTTP/1.1\r\nHost: director\r\n\r\n").await.expect("a request");
        begun.acquire().await.expect("a beginning").forget();
        drop(leaves);
        // Its place is not free, whoever asks, and nothing more is made.
        for _ in 0..20 {
            assert!(!timeout(LONG, scrape(&mut connect(address).await)).await.expect("an end"));
        }
        assert_eq!(begun.available_permits(), 0);
        go.add_permits(2);
        let served = async {
            while !scrape(&mut connect(address).await).await {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, served).await.expect("an answer");
    });
}
