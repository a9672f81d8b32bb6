//! What each command means for data connections.

use super::bounce::{Judgement, judge};
use super::edits::{CommandFate, Extent};
use super::state::{Auth, Pending, Session, Turn};
use super::verb::{ActiveForm, Role};
use super::{BlindReason, Bounce, CancelReason, Event, RefuseReason, Replies, Source, UnparsedReason, Verb};

impl Session {
    pub(super) fn act(&mut self, turn: &mut Turn<'_>, verb: Verb, argument: &[u8]) -> CommandFate {
        self.count_command(turn, verb);
        match verb.role() {
            Role::Plain | Role::Wrapped => {}
            Role::Active(form) => return self.active(turn, verb, form, argument),
            Role::Passive => self.passive(turn, verb, argument),
            Role::Transfer => self.transfer(turn, verb),
            Role::Abort => {
                // it is answered once or twice, and the transfer once or not at all
                self.count.doubt();
                self.cancel(CancelReason::Abort, turn.events);
            }
            Role::Leave => self.leave(turn, verb),
            Role::Protect => self.protect(turn, verb, argument),
        }
        CommandFate::Pass
    }

    fn active(&mut self, turn: &mut Turn<'_>, verb: Verb, form: ActiveForm, argument: &[u8]) -> CommandFate {
        match judge(turn.context, form, argument) {
            Judgement::Refuse(reason) => {
                turn.events.push(Event::Refuse { verb, reason });
                match turn.context.policy.bounce {
                    Bounce::Reject => CommandFate::Overwrite(Extent::First),
                    Bounce::Allow => CommandFate::Pass,
                }
            }
            Judgement::Accept(_) if self.epsv_all => {
                turn.events.push(Event::Refuse { verb, reason: RefuseReason::EpsvAll });
                CommandFate::Pass
            }
            Judgement::Accept(address) => {
                self.expect(Pending::Active);
                turn.events.push(Event::ExpectActive { verb, address, source: Source::Command });
                CommandFate::Pass
            }
            Judgement::Unparsed(reason) => {
                turn.events.push(Event::UnparsedCommand { verb, reason });
                CommandFate::Pass
            }
        }
    }

    fn passive(&mut self, turn: &mut Turn<'_>, verb: Verb, argument: &[u8]) {
        let replies = turn.context.policy.replies;
        if verb == Verb::Epsv && argument.eq_ignore_ascii_case(b"ALL") {
            // RFC 2428 §4; an unseen reply may have been a refusal
            if replies == Replies::Seen {
                self.count.ask_epsv_all();
            }
            return;
        }
        if verb != Verb::Epsv && self.epsv_all {
            turn.events.push(Event::Refuse { verb, reason: RefuseReason::EpsvAll });
            return;
        }
        if replies == Replies::Seen {
            self.count.ask(verb);
        }
        if verb == Verb::Epsv && !matches!(argument, b"" | b"1" | b"2") {
            turn.events.push(Event::UnparsedCommand { verb, reason: UnparsedReason::Malformed });
            return;
        }
        self.expect(Pending::Passive);
        turn.events.push(Event::AskPassive { verb });
    }

    fn expect(&mut self, pending: Pending) {
        (self.pending, self.began, self.named) = (pending, false, true);
    }

    fn transfer(&mut self, turn: &mut Turn<'_>, verb: Verb) {
        if !self.named {
            self.pending = Pending::Active;
            let (address, source) = (turn.context.client, Source::Default);
            turn.events.push(Event::ExpectActive { verb, address, source });
        }
        self.began = true;
        turn.events.push(Event::Transfer { verb });
    }

    fn leave(&mut self, turn: &mut Turn<'_>, verb: Verb) {
        let reason = if verb == Verb::Rein { CancelReason::Reinitialize } else { CancelReason::Quit };
        if !self.began {
            self.cancel(reason, turn.events);
        }
        if verb == Verb::Rein {
            (self.pending, self.began, self.named) = (Pending::Nothing, false, false);
            (self.epsv_all, self.auth) = (false, Auth::Nothing);
            self.count.forget_epsv_all();
        }
    }

    fn protect(&mut self, turn: &mut Turn<'_>, verb: Verb, argument: &[u8]) {
        if verb == Verb::Adat {
            self.auth = Auth::Gssapi;
            if turn.context.policy.replies == Replies::Unseen {
                self.go_dark(BlindReason::Gssapi, turn.events);
            }
            return;
        }
        let tls = [&b"TLS"[..], b"TLS-C", b"TLS-P", b"SSL"];
        let is_tls = tls.iter().any(|name| argument.eq_ignore_ascii_case(name));
        self.auth = if is_tls { Auth::Tls } else { Auth::Gssapi };
    }
}
