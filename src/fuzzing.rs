//! What must hold whatever bytes come from outside: a judge for each parser of them.
//!
//! A judge panics when something does not hold, and says whether its parser took the bytes. Fuzzers (`tests/fuzz`) look
//! for bytes that make it panic; the tests hand it the seeds that fuzzers begin with. Nothing else is built with it.
#![expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "to panic is what judges are for")]

mod names;
mod paths;

pub use self::names::{claims, typed, user_name};
pub use self::paths::route;
pub use crate::gateway::fuzzing::{cookie, credential, redirect_target};
pub use crate::oidc::fuzzing::{answer, bearer, discovery, id_token, keys, logout_token, userinfo};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    type Judge = fn(&[u8]) -> bool;

    const JUDGES: [(&str, Judge); 14] = [
        ("answer", answer),
        ("bearer", bearer),
        ("claims", claims),
        ("cookie", cookie),
        ("credential", credential),
        ("discovery", discovery),
        ("id_token", id_token),
        ("keys", keys),
        ("logout_token", logout_token),
        ("redirect_target", redirect_target),
        ("route", route),
        ("typed", typed),
        ("user_name", user_name),
        ("userinfo", userinfo),
    ];

    fn below(folder: &str) -> BTreeSet<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(folder);
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn what_a_seed_is_called_is_what_comes_of_it() {
        for (name, judge) in JUDGES {
            let mut outcomes = BTreeSet::new();
            for seed in below(&format!("seeds/{name}")) {
                let accepted = judge(&fs::read(&seed).unwrap());
                let outcome = if accepted { "accepted" } else { "refused" };
                let called = seed.file_name().unwrap().to_str().unwrap();
                assert!(called.starts_with(outcome), "{} is {outcome}", seed.display());
                outcomes.insert(outcome);
            }
            assert_eq!(
                outcomes.len(),
                2,
                "a judge that never refuses, or never accepts, judges nothing: {name}"
            );
        }
    }

    #[test]
    fn every_judge_has_a_fuzz_target_and_seeds() {
        let names = |folder| -> BTreeSet<String> {
            below(folder).iter().map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
        };
        let judges: BTreeSet<String> = JUDGES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names("fuzz_targets"), judges);
        assert_eq!(names("seeds"), judges);
        for target in below("fuzz_targets") {
            let name = target.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&target).unwrap();
            assert!(
                text.contains(&format!("hubgate::fuzzing::{name}(")),
                "{} judges {name}",
                target.display()
            );
        }
    }
}
