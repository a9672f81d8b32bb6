//! The dialogue of RFC 959: which replies are still to come, what the client expects, what a reply has told. Nothing else
//! knows or changes this; it sees verbs and codes, never bytes of a stream.

use super::asks::{Count, Overflow};
use super::bounce::{Judgement, judge};
use super::edits::{CommandFate, Extent};
use super::open_transfers::Ended;
use super::verb::{ActiveForm, Role};
use std::net::SocketAddr;

use super::{
    BlindReason, Bounce, CancelReason, Context, Event, Mode, RefuseReason, Replies, Source, UnparsedReason, Verb,
};

/// What client and server have agreed on so far.
#[derive(Debug, Default)]
pub(super) struct Dialogue {
    /// Commands and their replies.
    count: Count,
    /// The expectation that the last PORT, PASV or transfer made.
    pending: Pending,
    /// Whether a transfer verb came after it.
    began: bool,
    /// Whether PORT or PASV was ever given: if not, transfers use the default data port (RFC 959 §3.2).
    named: bool,
    /// The client's port that the last PORT, EPRT or LPRT named, for the transfers that follow (RFC 959 §3.2); 0: none, or a PASV
    /// came after it, or the port is another host's.
    active_port: u16,
    /// Whether EPSV ALL was accepted (RFC 2428 §4).
    epsv_all: bool,
    /// A security mechanism that was asked for (RFC 2228 §3).
    auth: Auth,
    /// The code of a reply of several lines that is being read; 0 if none is.
    multiline: u16,
    /// The port that this reply named, and the one that the client is told.
    told: Option<(u16, u16)>,
}

/// Which kind of data connection is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pending {
    #[default]
    Nothing,
    Passive,
    Active,
}

/// What AUTH asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Auth {
    #[default]
    Nothing,
    Tls,
    Gssapi,
}

/// The client's half.
impl Dialogue {
    /// Counts a command, where its reply will be seen.
    pub(super) fn count_command(&mut self, replies: Replies, verb: Verb) -> Result<(), Overflow> {
        if replies == Replies::Seen { self.count.command(verb) } else { Ok(()) }
    }

    /// Counts a line that means nothing. The server answers it, once or not at all.
    pub(super) fn count_unknown(&mut self) {
        self.count.doubt();
        _ = self.count.command(Verb::Other);
    }

    /// From here on replies and commands may be out of step.
    pub(super) const fn doubt(&mut self) {
        self.count.doubt();
    }

    /// Commands without a final reply.
    pub(super) const fn outstanding(&self) -> u16 {
        self.count.outstanding()
    }

    /// What a command that was counted means for data connections.
    pub(super) fn command(
        &mut self,
        context: &Context<'_>,
        verb: Verb,
        argument: &[u8],
        events: &mut Vec<Event>,
    ) -> CommandFate {
        match verb.role() {
            Role::Plain | Role::Wrapped => {}
            Role::Active(form) => return self.active(context, verb, form, argument, events),
            Role::Passive => self.passive(context, verb, argument, events),
            Role::Transfer => self.transfer(context, verb, events),
            Role::Abort => {
                // it is answered once or twice, and the transfer once or not at all
                self.count.doubt();
                self.cancel(CancelReason::Abort, events);
            }
            Role::Leave => self.leave(verb, events),
            Role::Protect => self.protect(verb, argument),
        }
        CommandFate::Pass
    }

    fn active(
        &mut self,
        context: &Context<'_>,
        verb: Verb,
        form: ActiveForm,
        argument: &[u8],
        events: &mut Vec<Event>,
    ) -> CommandFate {
        match judge(context, form, argument) {
            Judgement::Refuse(reason) => {
                events.push(Event::Refuse { verb, reason });
                match context.policy.bounce {
                    Bounce::Reject => CommandFate::Overwrite(Extent::First),
                    Bounce::Allow => CommandFate::Pass,
                }
            }
            Judgement::Accept(_) if self.epsv_all => {
                events.push(Event::Refuse { verb, reason: RefuseReason::EpsvAll });
                CommandFate::Pass
            }
            Judgement::Accept(address) => {
                self.expect(Pending::Active);
                self.active_port = if address.ip() == context.client.ip() { address.port() } else { 0 };
                events.push(Event::ExpectActive { verb, address, source: Source::Command });
                CommandFate::Pass
            }
            Judgement::Unparsed(reason) => {
                events.push(Event::UnparsedCommand { verb, reason });
                CommandFate::Pass
            }
        }
    }

    fn passive(&mut self, context: &Context<'_>, verb: Verb, argument: &[u8], events: &mut Vec<Event>) {
        let replies = context.policy.replies;
        if verb == Verb::Epsv && argument.eq_ignore_ascii_case(b"ALL") {
            // RFC 2428 §4; an unseen reply may have been a refusal
            if replies == Replies::Seen {
                self.count.ask_epsv_all();
            }
            return;
        }
        if verb != Verb::Epsv && self.epsv_all {
            events.push(Event::Refuse { verb, reason: RefuseReason::EpsvAll });
            return;
        }
        if replies == Replies::Seen {
            self.count.ask(verb);
        }
        if verb == Verb::Epsv && !matches!(argument, b"" | b"1" | b"2") {
            events.push(Event::UnparsedCommand { verb, reason: UnparsedReason::Malformed });
            return;
        }
        self.expect(Pending::Passive);
        self.active_port = 0;
        events.push(Event::AskPassive { verb });
    }

    fn expect(&mut self, pending: Pending) {
        (self.pending, self.began, self.named) = (pending, false, true);
    }

    fn transfer(&mut self, context: &Context<'_>, verb: Verb, events: &mut Vec<Event>) {
        if !self.named {
            self.pending = Pending::Active;
            let (address, source) = (context.client, Source::Default);
            events.push(Event::ExpectActive { verb, address, source });
        } else if self.active_port != 0 && !self.epsv_all && (self.began || self.pending == Pending::Nothing) {
            self.pending = Pending::Active;
            let address = SocketAddr::new(context.client.ip(), self.active_port);
            events.push(Event::ExpectActive { verb, address, source: Source::Earlier });
        }
        self.began = true;
        if context.policy.replies == Replies::Seen {
            let given_up = self.count.begin_transfer();
            events.extend((0..given_up).map(|_| Event::TransferOver { code: 0 }));
        }
        let mode = if self.pending == Pending::Active { Mode::Active } else { Mode::Passive };
        events.push(Event::Transfer { verb, mode });
    }

    fn leave(&mut self, verb: Verb, events: &mut Vec<Event>) {
        let reason = if verb == Verb::Rein { CancelReason::Reinitialize } else { CancelReason::Quit };
        self.end_commands(reason, events);
        if verb == Verb::Rein {
            (self.pending, self.began, self.named) = (Pending::Nothing, false, false);
            (self.active_port, self.epsv_all, self.auth) = (0, false, Auth::Nothing);
            self.count.forget_epsv_all();
        }
    }

    fn protect(&mut self, verb: Verb, argument: &[u8]) {
        let tls = [&b"TLS"[..], b"TLS-C", b"TLS-P", b"SSL"];
        let is_tls = verb != Verb::Adat && tls.iter().any(|name| argument.eq_ignore_ascii_case(name));
        self.auth = if is_tls { Auth::Tls } else { Auth::Gssapi };
    }

    /// Whether the client has asked for encryption, and nobody has refused it.
    pub(super) fn asks_for_encryption(&self) -> bool {
        self.auth != Auth::Nothing
    }

    /// The client says no more. A transfer that has begun goes on.
    pub(super) fn end_commands(&mut self, reason: CancelReason, events: &mut Vec<Event>) {
        if !self.began {
            self.cancel(reason, events);
        }
    }

    /// Ends the pending expectation, if there is one.
    pub(super) fn cancel(&mut self, reason: CancelReason, events: &mut Vec<Event>) {
        if self.pending != Pending::Nothing {
            self.pending = Pending::Nothing;
            events.push(Event::Cancel { reason });
        }
    }
}

/// The server's half.
impl Dialogue {
    /// Whether a 220 would be the greeting.
    pub(super) fn awaits_greeting(&self) -> bool {
        self.count.awaits_greeting()
    }

    /// Whether the client waits for no reply that names a port, ends what can be read or forbids what follows.
    pub(super) fn is_calm(&self) -> bool {
        !self.awaits_greeting() && self.multiline == 0 && !self.asks_for_encryption() && self.count.is_calm()
    }

    /// Whether a reply of this code may name the port that the client asked for.
    pub(super) fn awaits_port(&self, code: u16) -> bool {
        self.count.awaits(code)
    }

    /// The command that such a reply answers.
    pub(super) fn asker(&self) -> Verb {
        self.count.asker()
    }

    /// The code of the reply of several lines that is being read; 0 if none is.
    pub(super) const fn open_reply(&self) -> u16 {
        self.multiline
    }

    /// The first line of a reply of several lines.
    pub(super) const fn begin_reply(&mut self, code: u16) {
        self.multiline = code;
    }

    /// Whether the reply that is being read has named a port.
    pub(super) const fn has_told(&self) -> bool {
        self.told.is_some()
    }

    /// What the client is told in place of this port, if the reply that is being read has named it before.
    pub(super) fn told(&self, port: u16) -> Option<u16> {
        self.told.filter(|(named, _)| *named == port).map(|(_, told)| told)
    }

    /// The reply that is being read names `port`, and the client is told `told`.
    pub(super) const fn tell(&mut self, port: u16, told: u16) {
        self.told = Some((port, told));
    }

    /// A reply is complete. Says whether what follows is encrypted, and how.
    pub(super) fn reply(&mut self, code: u16, events: &mut Vec<Event>) -> Option<BlindReason> {
        (self.multiline, self.told) = (0, None);
        let settled = self.count.reply(code);
        self.epsv_all |= settled.epsv_all;
        let Ended { before, own, after } = settled.transfers;
        let unseen = |count| (0..count).map(|_| Event::TransferOver { code: 0 });
        events.extend(unseen(before));
        events.extend(own.then_some(Event::TransferOver { code }));
        events.extend(unseen(after));
        match (code, self.auth) {
            (234, Auth::Tls) => Some(BlindReason::Tls),
            (234 | 235, Auth::Gssapi) => Some(BlindReason::Gssapi),
            (500.., Auth::Tls | Auth::Gssapi) => {
                self.auth = Auth::Nothing;
                None
            }
            _ => None,
        }
    }

    /// Commands and replies went by that nobody saw. A reply of several lines that was being read is over.
    pub(super) fn lose_track(&mut self) {
        self.count.forget();
        self.count.doubt();
        (self.told, self.multiline) = (None, 0);
    }

    /// What follows is encrypted: no reply can be matched to a command any more. What is expected stays expected.
    pub(super) fn end_in_the_dark(&mut self) {
        self.count.forget();
        (self.auth, self.told, self.multiline) = (Auth::Nothing, None, 0);
    }
}
