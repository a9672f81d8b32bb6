//! Ordinary sessions to begin with: nobody attacks anybody in them.

use super::cells::{HONEST, Honest, SAID, STEPS, Step};

/// What happens in a session.
enum Happens {
    Said(&'static str),
    Answered(Honest),
    Did(Step, u8, u8),
}

use Happens::{Answered, Did, Said};

/// A port of the server's range, see `cells::port`: 31002 and so on where it has one of its own, else 40002 and so on.
fn port(ground: u8, slot: u8) -> u8 {
    match ground >> 2 & 3 {
        0 => 0x20 | slot,
        3 if slot == 0 => 0x20,
        _ => (slot + 2) << 4 | 3,
    }
}

const PASSIVE: &[Happens] = &[
    Said("USER joe\r\n"),
    Answered(Honest::Done),
    Said("PASV\r\n"),
    Answered(Honest::Done),
    Said("RETR x\r\n"),
    Did(Step::Land, 2, 0x20),
    Answered(Honest::Preliminary),
    Answered(Honest::Done),
    Said("EPSV\r\n"),
    Answered(Honest::Done),
    Did(Step::Wait, 11, 0),
    Said("QUIT\r\n"),
    Answered(Honest::Done),
    Did(Step::Close, 0, 0),
];

const ACTIVE: &[Happens] = &[
    Said("USER joe\r\n"),
    Answered(Honest::Done),
    Said("PORT {o},{p}\r\n"),
    Answered(Honest::Done),
    Said("LIST\r\n"),
    Did(Step::Land, 1, 0),
    Answered(Honest::Done),
    Said("EPRT |{f}|{O}|{P}|\r\n"),
    Said("ABOR\r\n"),
    Answered(Honest::Refused),
    Did(Step::Close, 2, 0),
];

const ENCRYPTED: &[Happens] = &[
    Said("AUTH TLS\r\n"),
    Answered(Honest::Done),
    Said("\u{16}\u{3}\u{1}"),
    Did(Step::Wait, 3, 0),
    Said("\u{17}\u{3}\u{3}x"),
    Did(Step::Wait, 14, 0),
    Did(Step::Keep, 0, 0),
    Did(Step::Close, 0, 0),
    Did(Step::Close, 1, 0),
];

/// Each session on each kind of configuration, and two at once.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![];
    for ground in [0_u8, 0x04, 0x08, 0x0c, 0x01, 0x02, 0x11, 0x12, 0x80, 0x84, 0x81] {
        // with public ports too, where there are any
        let public = [0x10, 0x14, 0x18].into_iter().filter(|_| !matches!(ground & 3, 1 | 2));
        for ending in [0_u8, 4, 8].into_iter().chain(public) {
            for happens in [PASSIVE, ACTIVE, ENCRYPTED] {
                let mut seed = vec![ground, ending, 0, 0];
                session(port(ground, 0), 0, happens, &mut seed);
                seeds.push(seed);
            }
            let mut both = vec![ground, ending, 0, 0];
            session(port(ground, 0), 0, &PASSIVE[..9], &mut both);
            session(port(ground, 1), 1, &PASSIVE[..9], &mut both);
            seeds.push(both);
        }
    }
    seeds
}

fn session(port: u8, slot: u8, happens: &[Happens], out: &mut Vec<u8>) {
    let number = |step: Step| STEPS.iter().position(|one| *one == step).expect("a step") as u8;
    for one in happens {
        match one {
            Said(line) => {
                let at = SAID.iter().position(|said| said == line).expect("a line") as u8;
                out.extend([number(Step::Say), slot, at, port]);
            }
            Answered(honest) => {
                let at = HONEST.iter().position(|one| one == honest).expect("an answer") as u8;
                out.extend([number(Step::Answer), slot, at, port]);
            }
            Did(step, a, b) => out.extend([number(*step), slot, *a, *b]),
        }
    }
}
