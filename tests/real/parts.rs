//! Where the real parts are.

/// A part's setting, from `tests/parts/with`.
pub(crate) fn part(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "the set-up says where the parts are")]
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run the real tests by `make test`, or under `tests/parts/with`")
    })
}
