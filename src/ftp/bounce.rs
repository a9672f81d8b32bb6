//! Which addresses a client may name: its own, at no port that belongs to somebody else (RFC 2577 §3).

use std::net::SocketAddr;

use super::address::{self, Host};
use super::verb::ActiveForm;
use super::{Bounce, Context, RefuseReason, UnparsedReason};

/// What an active command comes to.
pub(super) enum Judgement {
    Accept(SocketAddr),
    Refuse(RefuseReason),
    Unparsed(UnparsedReason),
}

/// Whether a command must be refused, as soon as no further byte can change that.
pub(super) fn refusal(context: &Context<'_>, form: ActiveForm, argument: &[u8]) -> Option<RefuseReason> {
    let client = context.client.ip().to_canonical();
    let host = match address::host(form, argument) {
        Some(Host::Address(host)) => Some(host.to_canonical()),
        Some(Host::Obscure) if context.policy.bounce == Bounce::Reject => return Some(RefuseReason::ThirdParty),
        Some(Host::Obscure) | None => None,
    };
    match host {
        Some(host) if host.is_ipv4() != client.is_ipv4() => Some(RefuseReason::Family),
        Some(host) if host != client && context.policy.bounce == Bounce::Reject => Some(RefuseReason::ThirdParty),
        Some(_) if address::is_low(form, argument) => Some(RefuseReason::LowPort),
        _ if address::wraps(form, argument) => Some(RefuseReason::Impossible),
        _ => None,
    }
}

/// What a complete active command comes to.
pub(super) fn judge(context: &Context<'_>, form: ActiveForm, argument: &[u8]) -> Judgement {
    if let Some(reason) = refusal(context, form, argument) {
        return Judgement::Refuse(reason);
    }
    match address::parse(form, argument) {
        Ok(address) if address.port() < 1024 => Judgement::Refuse(RefuseReason::LowPort),
        Ok(address) => Judgement::Accept(SocketAddr::new(address.ip().to_canonical(), address.port())),
        Err(reason) => Judgement::Unparsed(reason),
    }
}
