//! What the process allocates, counted.

#![expect(unsafe_code, reason = "a global allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static EVER: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; only sizes are added up.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.set(LIVE.get().wrapping_add(layout.size()));
        EVER.set(EVER.get().wrapping_add(layout.size()));
        // SAFETY: as required of our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub(layout.size()));
        // SAFETY: as required of our caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` does, and how many bytes it allocates, freed or not.
pub fn allocated<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = EVER.get();
    let done = work();
    (done, EVER.get().wrapping_sub(before))
}

/// How many bytes `what` owns.
pub fn owned<T>(what: T) -> usize {
    let before = LIVE.get();
    drop(what);
    before.wrapping_sub(LIVE.get())
}
