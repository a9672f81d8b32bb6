//! What answers at `metrics.listen`.

use std::sync::{Arc, Mutex};

use prometheus::Histogram;
use tokio::net::TcpListener;

use super::admin::Kernels;
use super::error::{RunError, kernel_error};
use super::messages::Packets;
use super::metrics::endpoint::{self, Answers, maker};
use super::metrics::observe::Observer;
use super::metrics::scrape::{ready, scrape};
use super::page::Page;
use super::view::View;

/// Answers at `metrics.listen` until the runtime ends, and remembers the hour that the page shows.
///
/// # Errors
/// When the kernel lacks nf_tables.
pub fn serve(
    listener: TcpListener,
    view: &Arc<Mutex<View>>,
    observer: &Arc<Mutex<Observer>>,
    packets: &Packets,
    verdicts: Histogram,
) -> Result<(), RunError> {
    let (seen, counting, line) = (Arc::clone(view), Arc::clone(observer), packets.clone());
    let metrics = maker(move || scrape(line.clone(), Arc::clone(&seen), Arc::clone(&counting), verdicts.clone()));
    let (seen, line) = (Arc::clone(view), packets.clone());
    let ready = maker(move || ready(line.clone(), Arc::clone(&seen)));
    let facts = Kernels::new(Arc::clone(view), Arc::clone(observer)).map_err(kernel_error)?;
    let page = Arc::new(Page::new(facts, packets.clone()));
    tokio::spawn(Arc::clone(&page).watch());
    let page = maker(move || Arc::clone(&page).html());
    tokio::spawn(endpoint::serve(listener, endpoint::LIMITS, Answers { page, metrics, ready }));
    Ok(())
}
