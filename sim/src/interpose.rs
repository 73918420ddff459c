//! The C library's clock and entropy, replaced for the thread that simulates.
//!
//! std's `Instant` and `SystemTime`, hash-map seeds, `rand`, `getrandom` and noise's keys all end in a few functions of the C
//! library. This module defines them, and the linker prefers them to the shared library's. On a thread that has called
//! [`enter`] they answer from virtual time and a seeded generator; on every other thread they do what they always did.
//!
//! A simulated thread that really sleeps, or starts another, would leave virtual time: both abort the process, with a
//! backtrace that shows who did it.
#![allow(unsafe_code)] // The only way to define C functions; each states why it is sound.

use std::cell::Cell;

/// Virtual monotonic time starts at eleven days of uptime, so that subtracting an hour from "now" doesn't underflow.
const UPTIME_NS: u64 = 1_000_000 * NANOS;
/// Virtual wall-clock time starts at 2026-01-01T00:00:00Z.
pub const EPOCH_SECS: u64 = 1_767_225_600;
const NANOS: u64 = 1_000_000_000;

// Constant initialisers and no destructors: plain memory, safe to touch inside an allocator or during thread exit.
thread_local! {
    /// Virtual nanoseconds since boot; 0 on a thread that isn't simulated.
    static CLOCK: Cell<u64> = const { Cell::new(0) };
    static ENTROPY: Cell<[u64; 4]> = const { Cell::new([0; 4]) };
    /// Which way chance goes: 0 for that of the seed, another for each other future.
    static WAY: Cell<u64> = const { Cell::new(0) };
}

/// Makes this thread's time virtual and its entropy that of `seed`. To be called first thing on a fresh thread.
pub fn enter(seed: u64) {
    let mut state = seed;
    ENTROPY.set(std::array::from_fn(|_| splitmix(&mut state)));
    CLOCK.set(UPTIME_NS);
}

/// Sets this thread's virtual time, in nanoseconds since [`enter`].
pub fn set_elapsed_ns(elapsed: u64) {
    CLOCK.set(UPTIME_NS + elapsed);
}

/// Whether this thread is simulated.
fn is_simulated() -> bool {
    CLOCK.try_with(Cell::get).unwrap_or(0) != 0
}

/// One step of SplitMix64: turns a seed into independent streams.
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A small seeded generator (xoshiro256++) for the simulator's own draws.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The generator of a seed.
    pub fn new(mut seed: u64) -> Self {
        Self(std::array::from_fn(|_| splitmix(&mut seed)))
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        let bits = xoshiro(&mut self.0);
        match WAY.get() {
            0 => bits,
            way => splitmix(&mut (bits ^ way)),
        }
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// A number in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn xoshiro(s: &mut [u64; 4]) -> u64 {
    let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
    let shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = s[3].rotate_left(45);
    result
}

fn fill(buffer: &mut [u8]) {
    let mut state = ENTROPY.get();
    for chunk in buffer.chunks_mut(8) {
        let word = xoshiro(&mut state).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    ENTROPY.set(state);
}

/// Seconds on the real monotonic clock, for speed measurements.
pub fn real_secs() -> f64 {
    clock_secs(libc::CLOCK_MONOTONIC)
}

/// Seconds that this thread has really kept a processor busy: what speed is on a machine with other work to do.
pub fn cpu_secs() -> f64 {
    clock_secs(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock_secs(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the system call writes one timespec, which `time` is.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / NANOS as f64
}

/// From here on everything is drawn otherwise than the seed says, entropy included: one way of many, by its number.
pub fn go_another_way(number: u64) {
    let way = splitmix(&mut number.clone());
    WAY.set(way);
    ENTROPY.set(ENTROPY.get().map(|word| splitmix(&mut (word ^ way))));
}

/// Which way of many it is; 0 for the one that the seed says.
pub fn way() -> u64 {
    WAY.get()
}

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one.
    Parent,
}

/// Copies this process. In the copy only the calling thread goes on.
///
/// # Errors
/// If the system has no room for it.
pub fn fork() -> std::io::Result<Fork> {
    // SAFETY: the other thread of this program waits for this one in `join` and holds no lock then; nothing else runs.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        _ => Ok(Fork::Parent),
    }
}

/// Waits until a child ends; whether it ended well.
pub fn wait_for_a_child() -> bool {
    let mut status = 0;
    // SAFETY: the call writes one int, which `status` is.
    let child = unsafe { libc::waitpid(-1, &raw mut status, 0) };
    child > 0 && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

/// Ends this process without any clean-up, which is its parent's.
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: ends the process; what was printed has been flushed line by line.
    unsafe { libc::_exit(code) }
}

mod hooks {
    use std::{
        ffi::{c_int, c_long, c_void},
        ptr,
        sync::atomic::{AtomicPtr, Ordering},
    };

    use libc::{clockid_t, pthread_attr_t, pthread_t, time_t, timespec, timeval};

    use super::{CLOCK, EPOCH_SECS, NANOS, UPTIME_NS, fill, is_simulated};

    /// The virtual time of a clock, in seconds and nanoseconds; `None` for clocks that stay real (CPU time).
    fn virtual_time(clock: clockid_t) -> Option<(u64, u64)> {
        let now = CLOCK.get();
        let nanos = match clock {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => now - UPTIME_NS + EPOCH_SECS * NANOS,
            libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_BOOTTIME => {
                now
            }
            _ => return None,
        };
        Some((nanos / NANOS, nanos % NANOS))
    }

    /// # Safety
    /// As the C function: `out` points to a timespec.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_gettime(clock: clockid_t, out: *mut timespec) -> c_int {
        let simulated = if is_simulated() { virtual_time(clock) } else { None };
        match simulated {
            Some((secs, nanos)) => {
                // SAFETY: the caller gives a timespec to write to.
                unsafe { out.write(timespec { tv_sec: secs as time_t, tv_nsec: nanos as i64 }) };
                0
            }
            // SAFETY: the system call that the C library would make, with the caller's arguments.
            None => unsafe { libc::syscall(libc::SYS_clock_gettime, clock, out) as c_int },
        }
    }

    /// # Safety
    /// As the C function: `out` is null or points to a timeval.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn gettimeofday(out: *mut timeval, _zone: *mut c_void) -> c_int {
        let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a timespec; `out` is checked and the caller's to write to.
        unsafe {
            clock_gettime(libc::CLOCK_REALTIME, &raw mut now);
            if !out.is_null() {
                out.write(timeval { tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1000 });
            }
        }
        0
    }

    /// # Safety
    /// As the C function: `out` is null or points to a `time_t`.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn time(out: *mut time_t) -> time_t {
        let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: as in `gettimeofday`.
        unsafe {
            clock_gettime(libc::CLOCK_REALTIME, &raw mut now);
            if !out.is_null() {
                out.write(now.tv_sec);
            }
        }
        now.tv_sec
    }

    /// # Safety
    /// As the C function: `buffer` points to `length` writable bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: u32) -> isize {
        if !is_simulated() {
            // SAFETY: the system call that the C library would make, with the caller's arguments.
            return unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize };
        }
        if length > 0 {
            // SAFETY: the caller gives `length` writable bytes; u8 has no invalid values.
            fill(unsafe { std::slice::from_raw_parts_mut(buffer.cast(), length) });
        }
        length as isize
    }

    type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;

    /// The C library's `syscall`, found once; null until then.
    static SYSCALL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

    /// `getrandom` 0.2, and with it `rand` 0.8 and the nonces of secp256k1's signatures, asks for entropy this way.
    ///
    /// The C function takes as many arguments as the number asks for; none takes more than six words, and they come in
    /// the registers in which six fixed ones come.
    ///
    /// # Safety
    /// As the C function.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn syscall(
        number: c_long,
        one: usize,
        two: usize,
        three: usize,
        four: usize,
        five: usize,
        six: usize,
    ) -> c_long {
        if number == libc::SYS_getrandom && is_simulated() {
            // SAFETY: its arguments are those of the C function, and the same promise holds.
            return unsafe { getrandom(one as *mut c_void, two, three as u32) } as c_long;
        }
        let mut real = SYSCALL.load(Ordering::Relaxed);
        // SAFETY: the next definition in link order is the C library's own, of exactly this type; it gets the caller's
        // arguments.
        unsafe {
            if real.is_null() {
                real = libc::dlsym(libc::RTLD_NEXT, c"syscall".as_ptr());
                SYSCALL.store(real, Ordering::Relaxed);
            }
            std::mem::transmute::<*mut c_void, Syscall>(real)(number, one, two, three, four, five, six)
        }
    }

    /// # Safety
    /// As the C function: `buffer` points to `length` writable bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn getentropy(buffer: *mut c_void, length: usize) -> c_int {
        // SAFETY: the same buffer under the same promise.
        if length <= 256 && unsafe { getrandom(buffer, length, 0) } == length as isize { 0 } else { -1 }
    }

    /// # Safety
    /// As the C function.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn nanosleep(wanted: *const timespec, left: *mut timespec) -> c_int {
        forbid("slept in real time");
        // SAFETY: the system call that the C library would make, with the caller's arguments.
        unsafe { libc::syscall(libc::SYS_nanosleep, wanted, left) as c_int }
    }

    /// # Safety
    /// As the C function.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn clock_nanosleep(
        clock: clockid_t,
        flags: c_int,
        wanted: *const timespec,
        left: *mut timespec,
    ) -> c_int {
        forbid("slept in real time");
        // SAFETY: the system call that the C library would make, with the caller's arguments.
        unsafe { libc::syscall(libc::SYS_clock_nanosleep, clock, flags, wanted, left) as c_int }
    }

    type Entry = extern "C" fn(*mut c_void) -> *mut c_void;
    type PthreadCreate = unsafe extern "C" fn(*mut pthread_t, *const pthread_attr_t, Entry, *mut c_void) -> c_int;

    /// # Safety
    /// As the C function.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn pthread_create(
        thread: *mut pthread_t,
        attributes: *const pthread_attr_t,
        entry: Entry,
        argument: *mut c_void,
    ) -> c_int {
        forbid("started a thread");
        // SAFETY: the next definition in link order is the C library's own, of exactly this type.
        unsafe {
            let real = libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr());
            std::mem::transmute::<*mut c_void, PthreadCreate>(real)(thread, attributes, entry, argument)
        }
    }

    fn forbid(what: &str) {
        if is_simulated() {
            CLOCK.set(0); // printing a backtrace may itself ask for time
            #[allow(clippy::print_stderr)]
            {
                eprintln!("simulated code {what}:\n{}", std::backtrace::Backtrace::force_capture());
            }
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    use super::*;

    /// Each on its own thread: a thread never leaves its simulation.
    fn on_a_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|_| panic!("the thread panicked")))
    }

    #[test]
    fn time_stands_until_it_is_set() {
        on_a_thread(|| {
            enter(1);
            let (start, wall) = (Instant::now(), SystemTime::now());
            assert_eq!(wall.duration_since(UNIX_EPOCH).map(|since| since.as_secs()).ok(), Some(EPOCH_SECS));
            assert_eq!(start.elapsed().as_nanos(), 0);
            set_elapsed_ns(5);
            assert_eq!(start.elapsed().as_nanos(), 5);
            assert_eq!(wall.elapsed().map(|elapsed| elapsed.as_nanos()).ok(), Some(5));
        });
    }

    #[test]
    fn a_seed_gives_the_same_entropy_and_hash_maps() {
        let draw = |seed| {
            on_a_thread(move || {
                enter(seed);
                let map: std::collections::HashMap<u32, u32> = (0..100).map(|n| (n, n)).collect();
                map.into_keys().collect::<Vec<_>>()
            })
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn raw_system_calls_for_entropy_are_seeded_too() {
        let draw = |seed| {
            on_a_thread(move || {
                enter(seed);
                let mut bytes = [0_u8; 32];
                // SAFETY: the buffer has that many bytes.
                let got = unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
                (got, bytes)
            })
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(draw(7).0, 32);
    }

    #[test]
    fn another_way_draws_otherwise_and_alike_each_time() {
        let draw = |way: Option<u64>| {
            on_a_thread(move || {
                enter(7);
                let mut rng = Rng::new(7);
                way.into_iter().for_each(go_another_way);
                let mut bytes = [0; 8];
                fill(&mut bytes);
                (rng.draw(), bytes)
            })
        };
        assert_eq!(draw(Some(1)), draw(Some(1)));
        assert_ne!(draw(Some(1)), draw(Some(2)));
        assert_ne!(draw(Some(1)), draw(None));
    }

    #[test]
    fn other_threads_keep_real_time() {
        on_a_thread(|| {
            let start = Instant::now();
            std::thread::sleep(std::time::Duration::from_millis(2));
            assert!(start.elapsed().as_millis() >= 2);
        });
    }
}
