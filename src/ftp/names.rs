//! The names that clients give, where somebody wants them: users and paths. Never what follows PASS or ACCT.

use super::Verb;
use super::state::{Named, Session};

/// The longest name, in bytes; of longer ones the beginning.
const LONGEST: usize = 255;

impl Session {
    /// Keeps what a command names until it is taken.
    pub(super) fn keep_name(&mut self, verb: Verb, argument: &[u8]) {
        let name = argument.iter().take(LONGEST).copied().collect();
        self.heap().names.push(Named { verb, name });
    }

    /// What was named since the last call, in the order of its events: with [`super::Policy::names`] one for each USER and each
    /// transfer verb. To be called after everything that appends events.
    pub fn take_names(&mut self) -> Vec<Named> {
        let Some(heap) = self.heap.as_mut().filter(|heap| !heap.names.is_empty()) else { return Vec::new() };
        let names = std::mem::take(&mut heap.names);
        self.tidy();
        names
    }
}

#[cfg(test)]
mod tests {
    use crate::ftp::testing::Wire;

    fn names(wire: &mut Wire) -> Vec<String> {
        let names = wire.session.take_names();
        names.iter().map(|named| format!("{} {}", named.verb, String::from_utf8_lossy(&named.name))).collect()
    }

    #[test]
    fn users_and_paths_however_cut_and_nothing_else() {
        let text =
            "USER joe\r\nPASS RETR secret\r\nACCT USER secret\r\nCWD private\r\nRETR a b\r\nLIST\r\nstor  x \r\n";
        for cut in 1..text.len() {
            let mut wire = Wire::dr();
            wire.policy.names = true;
            let (first, second) = text.split_at(cut);
            wire.client(first);
            let mut found = names(&mut wire);
            wire.client(second);
            found.extend(names(&mut wire));
            assert_eq!(found, ["USER joe", "RETR a b", "LIST ", "STOR x"], "cut at {cut}");
            assert_eq!(wire.session.heap_bytes(), 0);
        }
    }

    #[test]
    fn they_are_bounded_and_not_kept_unless_wanted() {
        let mut wire = Wire::nat();
        wire.client("USER joe\r\nRETR f\r\n");
        assert_eq!(names(&mut wire), [""; 0]);
        wire.policy.names = true;
        wire.client(format!("RETR {}\r\n", "x".repeat(3000)));
        assert_eq!(names(&mut wire), [format!("RETR {}", "x".repeat(255))]);
    }
}
