//! What a node keeps on disk.
//!
//! | module | keeps |
//! |---|---|
//! | [`disk`] | the seam to the operating system's files |
//! | [`log`] | the Raft log and vote, in segment files of our own |
//! | [`lsm`] | the checkpointed state, in fjall; the only place that names fjall |

pub mod disk;
pub mod log;
pub mod lsm;
