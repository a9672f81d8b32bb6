//! Why a client's transfer failed: from what is remembered of the client to a verdict, a sentence and a cure.
//!
//! Pure, and nothing else than [`crate::director::Account`] and the configuration goes in. [`attempt`] gathers what belongs to
//! one data connection, [`judge`] finds what became of it, [`sentence`] and [`cure`] say so.

mod attempt;
mod case;
mod cure;
mod judge;
mod place;
mod sentence;
mod timeline;
mod verdict;
mod words;

use std::net::{IpAddr, SocketAddr};

use crate::director::{Account, Happening, Moment};
use crate::time::Time;
use attempt::Story;
use case::Case;

pub use place::{Place, Standing};
pub use timeline::Line;
pub use verdict::Verdict;

/// What is told of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The session that it is about; `None`: no session of the client is known.
    pub session: Option<SocketAddr>,
    /// The index of its (cluster, VIP, server).
    pub index: Option<u16>,
    /// When the first that is remembered of it happened.
    pub since: Option<Time>,
    /// What happened, in order.
    pub lines: Vec<Line>,
    /// The data connection that was expected.
    pub expected: Option<String>,
    /// What came instead.
    pub came: Option<String>,
    /// What is wrong, if anything.
    pub verdict: Verdict,
    /// The verdict in a sentence.
    pub sentence: String,
    /// What to do; `None`: nothing.
    pub cure: Option<String>,
    /// How many sessions of the client are remembered.
    pub sessions: usize,
}

/// Explains what is remembered of a client. `place` knows what an index stands for; `closed` are the clusters that take no new
/// session, each with the reason.
#[must_use]
pub fn explain(account: &Account, place: impl Fn(u16) -> Option<Place>, closed: &[(String, String)]) -> Explanation {
    let sessions = sessions(&account.happenings);
    let chosen = choose(account, &sessions, &place);
    let began = account.happenings.iter().find(|one| chosen.is_some() && one.session == chosen).map(|one| one.at);
    let own = account.happenings.iter().filter(|one| belongs(one, chosen) && began.is_none_or(|at| one.at >= at));
    let own: Vec<Happening> = own.copied().collect();
    let story = Story::of(&own);
    let index = own.iter().find(|one| one.session.is_some()).or(own.first()).map(|one| one.index);
    let known = index.and_then(place);
    let client = own.iter().find(|one| one.client.port() > 0).map(|one| one.client);
    let case = case(account, &story, known.as_ref(), closed);
    let (judged, verdict) = case.judge();
    let attempt = judged.and_then(|at| story.attempts.get(at));
    let came = attempt.map(|attempt| words::came(&case, attempt, &verdict));
    Explanation {
        session: client.filter(|_| chosen.is_some()),
        index,
        since: own.first().map(|one| one.at),
        lines: timeline::lines(&case, &own),
        expected: attempt.and_then(|attempt| words::expected(&case, attempt)),
        came,
        sentence: sentence::of(&verdict, &case),
        cure: cure::of(&verdict, &case),
        verdict,
        sessions: sessions.len(),
    }
}

fn case<'a>(
    account: &'a Account,
    story: &'a Story,
    place: Option<&'a Place>,
    closed: &'a [(String, String)],
) -> Case<'a> {
    let address = account.client.unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let (now, client, pushed_out) = (account.now, account.client, account.pushed_out);
    Case { now, client, address, story, place, strangers: &account.strangers, pushed_out, closed }
}

/// The numbers of the sessions, by when they began.
fn sessions(happenings: &[Happening]) -> Vec<u32> {
    let mut numbers: Vec<u32> = Vec::new();
    for number in happenings.iter().filter_map(|one| one.session) {
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    numbers
}

/// The session that is explained: the one that is asked for, else the last with a failure, else the last.
fn choose(account: &Account, sessions: &[u32], place: &impl Fn(u16) -> Option<Place>) -> Option<u32> {
    if account.session.is_some() {
        return account.session;
    }
    let of_port = |number: &&u32| {
        let mut own = account.happenings.iter().filter(|one| one.session == Some(**number));
        account.port.is_none_or(|port| own.any(|one| one.client.port() == port))
    };
    let mut wanted = sessions.iter().filter(of_port);
    let last = wanted.clone().next_back().copied();
    let failed = |number: &&u32| {
        let own: Vec<_> = account.happenings.iter().filter(|one| one.session == Some(**number)).copied().collect();
        let (story, known) = (Story::of(&own), own.first().and_then(|one| place(one.index)));
        case(account, &story, known.as_ref(), &[]).judge().1.is_failure()
    };
    let began = account.happenings.iter().find(|one| one.session == last).map(|one| one.at);
    // One that is not read at all, later than the last that is.
    let mut unread =
        account.happenings.iter().filter(|one| one.session.is_none() && began.is_none_or(|at| one.at >= at));
    let unread = account.port.is_none() && unread.any(|one| matches!(one.moment, Moment::Limited(_)));
    wanted.rfind(failed).copied().or(last.filter(|_| !unread))
}

/// Whether a happening belongs to the session that is explained; those without a session may.
fn belongs(one: &Happening, chosen: Option<u32>) -> bool {
    match one.moment {
        Moment::Landed { .. } => true,
        Moment::Limited(_) => one.session == chosen,
        _ => chosen.is_some() && one.session == chosen,
    }
}

#[cfg(test)]
mod tests;
