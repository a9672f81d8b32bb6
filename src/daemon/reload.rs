//! Another file, or other addresses of the names in it: the same steps put both in force.

use std::sync::Arc;

use sd_notify::NotifyState;
use tracing::{error, info};

use super::by_name;
use super::control::{Cause, Daemon};
use super::names::PATIENCE;
use super::systemd::notify;
use super::view::{hash, now};
use crate::config::{Parsed, ResolvedFile};
use crate::plan::restart;
use crate::resolver;

impl Daemon {
    /// Another configuration: read and checked first, then one step. On an error the old one goes on.
    pub async fn reload(&mut self, reread: &impl Fn() -> Result<Parsed, String>) -> Result<(), String> {
        notify(&[NotifyState::Reloading]);
        let result = match reread() {
            Ok(written) => self.take(written).await,
            Err(error) => Err(error),
        };
        let mut view = self.lock();
        view.history.reload_good = result.is_ok();
        match &result {
            Ok(()) => {
                view.history.reloaded_at = now();
                view.history.hash = hash(&self.written);
                info!("reloaded");
            }
            Err(error) => error!("reload: {error}; the old configuration goes on"),
        }
        drop(view);
        notify(&[NotifyState::Ready]);
        result
    }

    /// Puts a file in force, with the addresses that its names have by now; one that has none soon follows.
    async fn take(&mut self, written: Parsed) -> Result<(), String> {
        if let Some(fixed) = restart::needed(&self.standing().0, &written.config) {
            return Err(format!("{fixed} can only be changed by a restart"));
        }
        // Of the old file too: it may go on.
        self.names.configure(&[&self.written.by_name, &written.by_name]);
        self.names.refresh();
        self.names.answered(PATIENCE).await;
        let old = std::mem::replace(&mut self.written, written);
        let result = self.put_in_force(Cause::File);
        if result.is_err() {
            self.written = old;
        }
        self.names.configure(&[&self.written.by_name]);
        result
    }

    /// Puts the addresses in force that the names have by now. What fails is tried again at the next look.
    pub fn follow_names(&mut self) {
        if let Err(error) = self.put_in_force(Cause::Names) {
            self.behind = true;
            self.complain(error);
        }
    }

    /// Makes the kernel what the file says by now.
    ///
    /// # Errors
    /// What is in the way, or what the kernel refused: what was in force goes on.
    pub(super) fn put_in_force(&mut self, cause: Cause) -> Result<(), String> {
        let (before, mut availability) = self.standing();
        let (served, inforce) = {
            let view = self.lock();
            let servers = view.config.clusters.iter().flat_map(|cluster| &cluster.real_servers);
            (servers.map(|server| server.address).collect(), Arc::clone(&view.config))
        };
        let ResolvedFile { config, servers } =
            resolver::resolve(&self.written, &self.names.answers(), Some(&*before), &served);
        if cause == Cause::File || config != *before {
            let config = Arc::new(config);
            availability.follow(&inforce, &config);
            availability.retain(&self.written.by_name.whole(&self.written.config));
            let moved = availability.follow_names(&before, &config);
            self.apply(&config, availability, cause)?;
            self.health.resume(&config, &moved);
        }
        self.behind = false;
        let mut view = self.lock();
        by_name::say(&view.by_name, &servers);
        view.by_name = servers;
        drop(view);
        self.follow_health();
        Ok(())
    }
}
