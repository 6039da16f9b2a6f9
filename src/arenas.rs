//! Bounds what glibc's allocator keeps, and gives back what nobody uses.
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

/// Gives whole pages that are free back to the kernel; for the moment when much was freed and little will be wanted soon.
///
/// glibc itself gives back the end of an arena alone, and a few blocks that live on keep all the rest. After thirty viewers these were
/// 80 of 174 MB (720p30, two cores of x86-64). Who allocates meanwhile may wait for a moment.
#[cfg(target_env = "gnu")]
pub async fn give_back() {
    #[allow(unsafe_code)]
    unsafe extern "C" {
        fn malloc_trim(keep: usize) -> i32;
    }
    let trim = || {
        // SAFETY: it takes any number, and locks each arena while it works on it; malloc_trim(3) calls it safe among threads.
        #[allow(unsafe_code)]
        let given = unsafe { malloc_trim(0) };
        tracing::debug!(given, "free memory goes back to the kernel");
    };
    if let Err(error) = tokio::task::spawn_blocking(trim).await {
        tracing::error!(%error, "giving free memory back panicked");
    }
}

/// Other C libraries have other allocators.
#[cfg(not(target_env = "gnu"))]
pub fn bound() {}

/// As above.
#[cfg(not(target_env = "gnu"))]
#[allow(clippy::unused_async)]
pub async fn give_back() {}

#[cfg(test)]
#[cfg(target_env = "gnu")]
mod tests {
    use super::give_back;

    fn resident_mb() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
    }

    #[tokio::test]
    async fn what_is_free_between_blocks_that_live_on_goes_back() {
        let mut blocks: Vec<_> = (0..400_000).map(|_| Some(vec![1_u8; 500])).collect();
        for (index, block) in blocks.iter_mut().enumerate() {
            if index % 400 != 0 {
                *block = None;
            }
        }
        let before = resident_mb();
        give_back().await;
        let after = resident_mb();
        assert!(after + 100 < before, "{before} MB before, {after} MB after");
        drop(blocks);
    }
}
