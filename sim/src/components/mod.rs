//! What a simulated node is given instead of an operating system.
//!
//! | module | stands for |
//! |---|---|
//! | [`clock`] | the wall clock, which may be off, drift, jump and stop |
//! | [`disk`] | files that forget what was not synced, tear, fail and take time |
//! | [`failpoint`] | no thing: the steps of disk and store at which power may go |
//! | [`net`] | turmoil's TCP, with bytes that may flip between nodes |
//! | [`random`] | seeded chance |
//! | [`store`] | the state's store: in memory, kept over restarts |
//!
//! Monotonic time is tokio's, which turmoil drives.

pub mod clock;
pub mod disk;
pub mod failpoint;
pub mod net;
pub mod random;
pub mod store;
