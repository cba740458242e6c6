//! Whether there is room for what clients write.
//!
//! What is written goes to the disk of every member. A voter whose disk is full stops, and counts as one that is down: the
//! cluster does without it as long as the others are a quorum. So writes are refused when going on could cost the quorum: when
//! a voter is low, and those that are known to have room are fewer than a quorum. One full disk of three does not stop the
//! cluster; two do, while the third could still take what the two could not.

use super::vitals::DiskSpace;

/// What is known of a voter's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There is enough, or it cannot tell.
    Enough,
    /// Too little.
    Low(DiskSpace),
    /// The voter has not been heard of for a while.
    Unknown,
}

/// Why writes are refused, if they are. `voters` are all of them, by id.
pub(super) fn refusal(voters: &[(u64, Room)]) -> Option<String> {
    let low: Vec<String> = voters
        .iter()
        .filter_map(|(node_id, room)| match room {
            Room::Low(space) => Some(format!("node {node_id} has {space}")),
            Room::Enough | Room::Unknown => None,
        })
        .collect();
    let with_room = voters.iter().filter(|(_, room)| *room == Room::Enough).count();
    let quorum = voters.len() / 2 + 1;
    if low.is_empty() || with_room >= quorum {
        return None;
    }
    Some(format!(
        "{with_room} of {} voters have room on their disks, {quorum} must have: {}",
        voters.len(),
        low.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Room = Room::Low(DiskSpace {
        free_bytes: 1,
        total_bytes: 100,
        floor_bytes: 5,
        is_low: true,
    });

    fn refuses(rooms: &[Room]) -> bool {
        let voters: Vec<_> = (1..).zip(rooms.iter().copied()).collect();
        refusal(&voters).is_some()
    }

    #[test]
    fn as_long_as_a_quorum_has_room() {
        use Room::{Enough, Unknown};
        assert!(!refuses(&[Enough]));
        assert!(refuses(&[LOW]));
        assert!(!refuses(&[Enough, Enough, LOW]));
        assert!(refuses(&[Enough, LOW, LOW]));
        assert!(refuses(&[Enough, LOW, Unknown]), "the one that is low would be needed");
        assert!(!refuses(&[Enough, Unknown, Unknown]), "no matter of disks");
        assert!(!refuses(&[Enough, Enough, Enough, LOW, LOW]));
        assert!(refuses(&[Enough, Enough, LOW, LOW, LOW]));
    }

    #[test]
    fn the_refusal_names_who_is_low() {
        let text = refusal(&[(1, Room::Enough), (2, LOW), (3, LOW)]).unwrap();
        assert!(
            text.starts_with("1 of 3 voters have room on their disks, 2 must have: node 2 has 1 B free"),
            "{text}"
        );
        assert!(text.contains("node 3"), "{text}");
    }
}
