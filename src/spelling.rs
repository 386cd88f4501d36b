//! What was typed, and what was meant.

/// Levenshtein's distance: how many letters to add, drop or change. Of a long text, the beginning counts.
pub fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().take(LONGEST).enumerate() {
        let mut left = line + 1;
        let mut next = vec![left];
        for (pair, candidate) in row.windows(2).zip(&other) {
            let [corner, above] = pair else { continue };
            left = (corner + usize::from(letter != *candidate)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_counts_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance(&"x".repeat(1_000_000), "x"), 63);
    }
}
