//! What is known of one control connection. The other files of this room read and change it; only [`super::session`] is
//! called from outside.

use std::fmt;

use super::dialogue::Dialogue;
use super::edits::Edits;
use super::ends::LineEnds;
use super::line::wipe;
use super::passive_rewrite::NamedPort;
use super::same_length::Released;
use super::stream::{Ahead, Patches};
use super::{BlindReason, Context, Direction, Event, Told, UnparsedReason, Verb};
use crate::time::Time;

/// The state of one control connection. Idle it owns no memory but itself.
#[derive(Debug, Default)]
pub struct Session {
    pub(super) to_server: Half,
    /// Where replies are not seen, `next` is what the client has acknowledged of them.
    pub(super) to_client: Half,
    pub(super) heap: Option<Box<Heap>>,
    /// What commands and replies have agreed on.
    pub(super) dialogue: Dialogue,
    /// Where reading of the client's half began.
    pub(super) begin: u32,
    /// What the client sends again from before here is dropped: it may lack an edit, or never have been read.
    pub(super) forgotten: u32,
    /// The segment of the client of which more is to be read.
    pub(super) resumes: Option<u32>,
    /// When the session began, in seconds.
    pub(super) since: u32,
    /// How many segments of the client brought something.
    pub(super) heard: Heard,
    /// The verb of the unfinished command, once known.
    pub(super) verb: Verb,
    /// How the server ends its lines.
    pub(super) ends: LineEnds,
    pub(super) blind: Option<BlindReason>,
    /// Whether the session is blind because what it says is encrypted.
    pub(super) ciphered: bool,
    pub(super) closed: bool,
    /// Whether that is believed on the client's word alone, while the server may still wait for the rest of a line.
    pub(super) guessed: bool,
    /// Whether the replies do not pass here.
    pub(super) unheard: bool,
}

impl Session {
    /// The memory for what an idle session does not have.
    pub(super) fn heap(&mut self) -> &mut Heap {
        self.heap.get_or_insert_default()
    }

    pub(super) fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::ToServer => &mut self.to_server,
            Direction::ToClient => &mut self.to_client,
        }
    }

    /// Frees what is needed no longer.
    pub(super) fn tidy(&mut self) {
        let Some(heap) = &mut self.heap else { return };
        if heap.ahead.is_empty() {
            heap.gap = None;
        }
        if heap.edits.is_empty() {
            heap.edits_until = None;
        }
        if heap.is_idle() {
            self.heap = None;
        }
    }
}

/// A gap among the commands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    /// When the missing commands are given up.
    pub until: Time,
    /// Since when nothing came from before what lies behind it.
    pub since: Time,
    /// What the client had acknowledged then.
    pub acknowledged: u32,
}

/// What is known of one direction of the control connection.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// The sequence number behind everything that was read.
    pub next: u32,
    /// How much of an unfinished line there is, in bytes.
    pub line: u32,
    /// What is done with its next bytes.
    pub mode: LineMode,
    /// Whether `next` is known.
    pub known: bool,
    /// Whether reading began somewhere in the middle: the first line may be half a line.
    pub lenient: bool,
    /// Whether a FIN came behind `next`.
    pub fin: bool,
}

/// What is done with the bytes of an unfinished line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LineMode {
    /// No line has begun.
    #[default]
    Start,
    /// The bytes are kept: what the line is, is not known yet.
    Keep,
    /// The bytes are kept until the line is complete: a command whose argument matters.
    Argument,
    /// Everything that matters is known; they are not kept.
    Skip,
    /// The bytes mean nothing, nor will the line.
    Discard,
    /// The bytes are overwritten: the command is refused.
    Overwrite,
}

/// How many segments of the client brought something new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Heard {
    #[default]
    Nothing,
    Once,
    More,
}

/// What a session needs now and then.
#[derive(Default)]
pub(super) struct Heap {
    /// The beginning of an unfinished command line.
    pub command: Vec<u8>,
    /// What is known of an unfinished reply.
    pub reply: Option<Unfinished>,
    /// Commands that came too early.
    pub ahead: Ahead,
    /// What was overwritten in commands, for retransmissions.
    pub edits: Edits,
    /// What was rewritten in replies, for retransmissions.
    pub reply_patches: Patches,
    /// The lowest and the highest sequence number of the replies that are held because others are missing before them.
    pub held: Option<(u32, u32)>,
    /// Up to which reply what is missing is given up. All that were held waited together, so that a server that sends nothing but
    /// gaps gets one wait for all of them.
    pub overdue: Option<u32>,
    /// When held segments are released.
    pub hold_until: Option<Time>,
    /// What is missing among the commands.
    pub gap: Option<Gap>,
    /// When edits are forgotten, where acknowledgements are not seen.
    pub edits_until: Option<Time>,
    /// What was named, until it is taken.
    pub names: Vec<Named>,
}

impl Heap {
    fn is_idle(&self) -> bool {
        self.command.is_empty()
            && self.reply.is_none()
            && self.ahead.is_empty()
            && self.edits.is_empty()
            && self.reply_patches.is_empty()
            && self.held.is_none()
            && self.overdue.is_none()
            && self.hold_until.is_none()
            && self.names.is_empty()
    }
}

impl fmt::Debug for Heap {
    /// Never what clients sent: it may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").finish_non_exhaustive()
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        wipe(&mut self.command);
    }
}

/// What a client named with a command.
pub struct Named {
    /// USER, or a transfer verb.
    pub verb: Verb,
    /// As it came, at most 255 bytes; empty where the command named nothing.
    pub name: Vec<u8>,
}

/// A line of which the end has not come.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    /// The sequence number of its first byte.
    pub seq: u32,
    /// Its bytes: of a line that names no port only the code.
    pub raw: Vec<u8>,
    /// How many of them can be released.
    pub decided: usize,
    /// What was released before all was known.
    pub released: Released,
    /// The port that it names, if only its end is missing.
    pub named: Option<NamedPort>,
    /// Whether nothing more will be done with it, and why not.
    pub done: Option<Result<(), UnparsedReason>>,
}

impl Unfinished {
    pub(super) fn new(seq: u32) -> Self {
        Self { seq, ..Self::default() }
    }

    pub(super) fn bytes(&self) -> usize {
        self.raw.capacity().saturating_add(self.released.bytes.capacity())
    }
}

/// What a segment is judged with.
pub(super) struct Turn<'a> {
    pub context: &'a Context<'a>,
    pub ports: &'a mut dyn FnMut(u16) -> Told,
    pub events: &'a mut Vec<Event>,
}
