//! `max_sessions`: where IPVS would count something else than sessions, or refuse clients that another server has room for.

use super::checker::One;

/// Schedulers that choose by the client's address, and no other server if that one is full.
const BY_ADDRESS: [&str; 3] = ["sh", "dh", "mh"];

/// The servers of one cluster.
pub(super) fn within(one: &One<'_, '_, '_>) {
    let servers = one.cluster.real_servers.iter().enumerate();
    let mut limited = servers.filter(|(_, server)| server.max_sessions.is_some()).map(|(index, _)| index).peekable();
    let Some(&first) = limited.peek() else { return };
    if one.cluster.persistence.is_some() && one.sound("persistence") {
        let what = "with persistence IPVS counts data connections too, and lets clients in that it knows";
        for index in limited {
            one.error(
                &one.server_path(index, "max_sessions"),
                what,
                "remove it; or one range per server, and no persistence",
            );
        }
        return;
    }
    let scheduler = one.cluster.scheduler.as_str();
    if one.sound("scheduler") && one.cluster.real_servers.len() > 1 && BY_ADDRESS.contains(&scheduler) {
        let what =
            format!("the scheduler {scheduler} refuses the clients of a full server, and sends them to no other");
        one.warning(&one.server_path(first, "max_sessions"), what, "another `scheduler`, like wlc");
    }
}
