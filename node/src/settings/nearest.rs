//! "Did you mean": the known name nearest to a misspelt one.

/// The candidate that `name` is most likely a misspelling of, if any is near enough: at most a third of its letters differ.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let simplified = name.to_lowercase().replace(['-', '.', ' '], "_");
    candidates
        .map(|candidate| (edit_distance(&simplified, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements between two words (Levenshtein), by characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_misspellings_and_other_spellings() {
        let names = ["data_dir", "mqtt", "mqtts", "log_filter"];
        assert_eq!(nearest("datadir", names.into_iter()), Some("data_dir"));
        assert_eq!(nearest("Data-Dir", names.into_iter()), Some("data_dir"));
        assert_eq!(nearest("mqt", names.into_iter()), Some("mqtt"));
        assert_eq!(nearest("colour", names.into_iter()), None);
    }

    #[test]
    fn counts_edits() {
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }
}
