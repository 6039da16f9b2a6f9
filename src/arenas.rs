//! Bounds what glibc's allocator keeps.
//!
//! In: nothing. Out: nothing. Never: against `MALLOC_ARENA_MAX` in the environment.
//!
//! With an arena for each of a hundred short-lived threads (eight times the processors' number of arenas at most) memory grows with every
//! viewer who comes and goes: what one frees in one arena, the next does not find in another.

/// Arenas: so that threads seldom wait for each other.
#[cfg(target_env = "gnu")]
const ARENAS: i32 = 2;

/// Before there is a second thread.
#[cfg(target_env = "gnu")]
pub fn bound() {
    /// `M_ARENA_MAX` of glibc's `malloc.h`.
    const MOST: i32 = -8;
    #[allow(unsafe_code)]
    unsafe extern "C" {
        fn mallopt(parameter: i32, value: i32) -> i32;
    }
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        // SAFETY: it sets a number of the allocator, and takes any pair; mallopt(3) calls it safe before there are threads.
        #[allow(unsafe_code)]
        let taken = unsafe { mallopt(MOST, ARENAS) };
        debug_assert_eq!(taken, 1);
    }
}

/// Other C libraries have other allocators.
#[cfg(not(target_env = "gnu"))]
pub fn bound() {}
