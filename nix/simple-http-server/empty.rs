//! Nothing: cargo wants a target where a lock is kept.
