//! Work that takes as long as a stranger's file makes it, and systemd's watchdog, which must not take that for the end.

use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// So many signs of life are given meanwhile: with one every 2 s a minute. What takes longer has hung.
const BEATS: usize = 30;

/// Does `work` on another thread; until it is done `beat` is called each time that `every` has passed.
pub(super) fn beating<T: Send>(work: &(impl Fn() -> T + Sync), every: Duration, beat: &mut dyn FnMut()) -> T {
    thread::scope(|scope| {
        // Closed when the work has ended, however it ends.
        let (working, ended) = mpsc::channel::<()>();
        let task = move || {
            let _working = working;
            work()
        };
        let Ok(worker) = thread::Builder::new().name("reread".into()).spawn_scoped(scope, task) else {
            return work();
        };
        for _ in 0..BEATS {
            match ended.recv_timeout(every) {
                Err(RecvTimeoutError::Timeout) => beat(),
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const DEADLINE: Duration = Duration::from_secs(20);

    /// The work goes on until it has been seen to be waited for.
    #[test]
    fn there_are_signs_of_life_while_it_works() {
        let (beats, heard) = mpsc::channel();
        let heard = Mutex::new(heard);
        let work = || (0..3).map(|_| heard.lock().unwrap().recv_timeout(DEADLINE).unwrap()).sum::<u32>();
        assert_eq!(beating(&work, SOON, &mut || beats.send(7).unwrap()), 21);
    }

    /// What has hung is found by the watchdog.
    #[test]
    fn they_end_before_the_work_does_if_it_never_does() {
        let (beats, heard) = mpsc::channel();
        let (enough, go_on) = mpsc::channel();
        let go_on = Mutex::new(go_on);
        let mut given = 0;
        let watcher = thread::spawn(move || {
            let heard: Vec<()> = heard.iter().take(BEATS).collect();
            enough.send(heard.len()).unwrap();
        });
        let work = || go_on.lock().unwrap().recv_timeout(DEADLINE).unwrap();
        let counted = beating(&work, SOON, &mut || {
            given += 1;
            let _ = beats.send(());
        });
        watcher.join().unwrap();
        assert_eq!((counted, given), (BEATS, BEATS));
    }
}
