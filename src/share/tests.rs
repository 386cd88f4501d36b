mod codes;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{Limit, Span};
use crate::forward::Lifeline;
use crate::server_name::ServerName;
use crate::user::{Claims, GroupName};

const START: Timestamp = 1_000_000;
const DAY: u64 = 86_400;

/// Shares, and what they are kept in.
struct Hub {
    shares: Shares,
    groups: Groups,
    store: Store,
    clock: Clock,
}

impl Hub {
    async fn new() -> Self {
        let (store, clock) = (Store::in_memory().await.unwrap(), Clock::manual(START));
        for name in ["alice", "bob", "carol"] {
            store.name_user("https://kc.example", name, &self::name(name), START).await.unwrap();
        }
        Self::over(store, clock, Limit::Value(Span::seconds(30 * DAY)), true)
    }

    fn over(store: Store, clock: Clock, lifetime_max: Limit<Span>, enabled: bool) -> Self {
        let sealer = Arc::new(Sealer::new(&[7; 32]));
        let config = config::Sharing { enabled, lifetime_max };
        let groups = Groups::new(store.clone(), Arc::clone(&sealer));
        let shares = Shares::new(&config, groups.clone(), store.clone(), sealer, clock.clone());
        Self { shares, groups, store, clock }
    }

    /// After a restart.
    async fn again(&self, lifetime_max: Limit<Span>, enabled: bool) -> Self {
        let hub = Self::over(self.store.clone(), self.clock.clone(), lifetime_max, enabled);
        hub.shares.restore(async |_owner| Ok(true)).await.unwrap();
        hub
    }

    async fn share(&self, with: With, access: Access, expires: Option<Timestamp>) -> Arc<Share> {
        self.shares.make(new(with, access, expires)).await.unwrap()
    }

    fn found(&self, who: &User) -> Option<Access> {
        self.shares.find(&workspace(""), who).map(|granted| granted.access())
    }

    fn lifeline(&self, who: &User) -> Arc<Lifeline> {
        let granted = self.shares.find(&workspace(""), who).unwrap();
        granted.lifeline(&Lifeline::new(CancellationToken::new())).unwrap()
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn name(name: &str) -> UserName {
    UserName::parse(name).unwrap()
}

fn group(provider: &str, path: &str) -> Group {
    Group { provider: provider.into(), path: path.into() }
}

fn user(of: &str, groups: &[&str]) -> User {
    User {
        name: name(of),
        admin: false,
        profiles: ["lab".into()].into(),
        routes: [].into(),
        groups: groups.iter().map(|path| group("main", path)).collect(),
        claims: Claims::default(),
        memory: None,
        cpu: None,
    }
}

fn workspace(server: &str) -> WorkspaceId {
    WorkspaceId { user: name("alice"), server: ServerName::parse(server).unwrap() }
}

fn with(user: &str) -> With {
    With::User(name(user))
}

fn new(with: With, access: Access, expires: Option<Timestamp>) -> NewShare {
    NewShare { of: workspace(""), with, access, expires, by: name("alice") }
}

fn code(access: Access) -> NewCode {
    NewCode { of: workspace(""), access, expires: None, share_expires: None, by: name("alice") }
}

#[tokio::test]
async fn a_share_lets_in_whom_it_names_and_nobody_else() {
    let hub = Hub::new().await;
    let bob = user("bob", &[]);
    assert_eq!(hub.found(&bob), None);
    hub.share(with("bob"), Access::Read, None).await;
    assert_eq!(hub.found(&bob), Some(Access::Read));
    assert_eq!(hub.found(&user("carol", &[])), None);
    assert!(hub.shares.find(&workspace("gpu"), &bob).is_none(), "another server is another workspace");
    let of_bob = WorkspaceId { user: name("bob"), server: ServerName::default() };
    assert!(hub.shares.find(&of_bob, &user("alice", &[])).is_none(), "it is one way");
    let own = hub.shares.make(new(with("alice"), Access::Read, None)).await;
    assert!(matches!(own, Err(ShareError::Own { .. })));
}

#[tokio::test]
async fn a_user_has_the_best_of_what_they_and_their_groups_have() {
    let hub = Hub::new().await;
    hub.share(with("bob"), Access::Read, None).await;
    hub.share(With::Group(group("main", "/lab")), Access::Full, Some(START + DAY)).await;
    assert_eq!(hub.found(&user("bob", &["/other", "/lab"])), Some(Access::Full));
    assert_eq!(hub.found(&user("bob", &["/lab/below"])), Some(Access::Read), "a group is its whole path");
    assert_eq!(hub.found(&user("carol", &["/lab"])), Some(Access::Full));
    let elsewhere = User { groups: [group("eth", "/lab")].into(), ..user("carol", &[]) };
    assert_eq!(hub.found(&elsewhere), None, "a group of one provider is no group of another");
    hub.advance(DAY);
    assert_eq!(hub.found(&user("bob", &["/lab"])), Some(Access::Read));
    assert_eq!(hub.found(&user("carol", &["/lab"])), None);
}

#[tokio::test]
async fn what_is_over_counts_no_more_and_closes_what_is_open_for_it() {
    let hub = Hub::new().await;
    let bob = user("bob", &[]);
    hub.share(with("bob"), Access::Full, Some(START + 60)).await;
    let line = hub.lifeline(&bob);
    hub.advance(59);
    hub.shares.expire();
    assert!(hub.found(&bob).is_some() && !line.ended().is_cancelled());
    hub.advance(1);
    assert_eq!(hub.found(&bob), None);
    hub.shares.expire();
    assert!(line.ended().is_cancelled());
    hub.shares.sweep().await.unwrap();
    assert!(hub.store.shares().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_share_that_is_revoked_or_narrowed_closes_what_is_open_for_it() {
    let hub = Hub::new().await;
    let bob = user("bob", &[]);
    let share = hub.share(with("bob"), Access::Full, None).await;
    let (line, granted) = (hub.lifeline(&bob), hub.shares.find(&workspace(""), &bob).unwrap());
    let again = hub.share(with("bob"), Access::Full, Some(START + DAY)).await;
    assert!(Arc::ptr_eq(&share, &again) && !line.ended().is_cancelled(), "an end to come closes nothing");
    hub.share(with("bob"), Access::Read, None).await;
    assert!(line.ended().is_cancelled());
    let parent = Lifeline::new(CancellationToken::new());
    assert!(granted.lifeline(&parent).is_none(), "what was granted before is not granted any more");
    let line = hub.lifeline(&bob);
    hub.share(with("bob"), Access::Full, None).await;
    assert!(!line.ended().is_cancelled(), "more is not less");
    hub.shares.narrow(&share).await.unwrap();
    assert!(line.ended().is_cancelled() && hub.found(&bob) == Some(Access::Read));
    let (line, granted) = (hub.lifeline(&bob), hub.shares.find(&workspace(""), &bob).unwrap());
    hub.shares.end(&share).await.unwrap();
    assert!(line.ended().is_cancelled() && granted.lifeline(&parent).is_none());
    assert_eq!((hub.found(&bob), hub.store.shares().await.unwrap().len()), (None, 0));
}

#[tokio::test]
async fn a_visitor_has_one_lifeline_for_a_share_and_it_ends_with_what_is_theirs() {
    let hub = Hub::new().await;
    let bob = user("bob", &[]);
    hub.share(with("bob"), Access::Read, None).await;
    let granted = hub.shares.find(&workspace(""), &bob).unwrap();
    let (parent, other) = (Lifeline::new(CancellationToken::new()), Lifeline::new(CancellationToken::new()));
    let line = granted.lifeline(&parent).unwrap();
    assert!(Arc::ptr_eq(&line, &granted.lifeline(&parent).unwrap()));
    assert!(!Arc::ptr_eq(&line, &granted.lifeline(&other).unwrap()));
    let hold = line.hold();
    assert_eq!((parent.open(), other.open()), (1, 0));
    parent.cut();
    assert!(line.ended().is_cancelled());
    drop(hold);
    assert_eq!(parent.open(), 0);
}

#[tokio::test]
async fn shares_and_codes_are_there_after_a_restart() {
    let hub = Hub::new().await;
    hub.share(with("bob"), Access::Full, Some(START + DAY)).await;
    hub.share(With::Group(group("main", "/lab")), Access::Read, None).await;
    let (text, made) = hub.shares.make_code(code(Access::Read)).await.unwrap();
    let again = hub.again(Limit::Value(Span::seconds(30 * DAY)), true).await;
    assert_eq!(again.found(&user("bob", &[])), Some(Access::Full));
    assert_eq!(again.found(&user("carol", &["/lab"])), Some(Access::Read));
    let theirs = again.shares.of(&name("alice"));
    let ends: Vec<_> = theirs.iter().map(|share| share.terms().expires).collect();
    assert!(ends.contains(&Some(START + DAY)) && ends.contains(&Some(START + 30 * DAY)), "{ends:?}");
    let kept = again.shares.code(text.expose()).unwrap();
    assert_eq!((kept.id, kept.access, kept.expires), (made.id, Access::Read, START + DAY));
    assert!(again.shares.code("A").is_none());
    // The longest share is shorter now: what was made before is no exception.
    let shorter = hub.again(Limit::Value(Span::seconds(3600)), true).await;
    assert_eq!(shorter.shares.of(&name("alice"))[0].terms().expires, Some(START + 3600));
    hub.advance(3600);
    let over = hub.again(Limit::Value(Span::seconds(3600)), true).await;
    assert_eq!((over.found(&user("bob", &[])), over.shares.code(text.expose()).is_none()), (None, true));
    assert!(hub.store.shares().await.unwrap().is_empty(), "and is forgotten");
}

#[tokio::test]
async fn while_sharing_is_off_nothing_is_found_and_nothing_is_lost() {
    let hub = Hub::new().await;
    hub.share(with("bob"), Access::Full, None).await;
    let off = hub.again(Limit::Unlimited, false).await;
    assert_eq!((off.shares.enabled(), off.found(&user("bob", &[]))), (false, None));
    off.shares.sweep().await.unwrap();
    let on = hub.again(Limit::Unlimited, true).await;
    assert_eq!(on.found(&user("bob", &[])), Some(Access::Full));
}

#[tokio::test]
async fn a_row_that_was_changed_lets_nobody_in() {
    let hub = Hub::new().await;
    hub.share(with("bob"), Access::Read, None).await;
    hub.shares.make_code(code(Access::Full)).await.unwrap();
    let mut rows = hub.store.shares().await.unwrap();
    let mut codes = hub.store.share_codes().await.unwrap();
    // Another's seal, and a seal moved to another row.
    rows[0].id = [9; 8];
    codes[0].hash = [9; 32];
    codes[0].id = [9; 8];
    let news = crate::store::ShareNews { shares: rows, codes, ..Default::default() };
    hub.store.write_shares(&news).await.unwrap();
    let again = hub.again(Limit::Unlimited, true).await;
    assert_eq!((again.shares.of(&name("alice")).len(), again.shares.codes_of(&name("alice")).len()), (1, 1));
    assert_eq!(hub.store.shares().await.unwrap().len(), 1, "and is forgotten");
    assert_eq!(hub.store.share_codes().await.unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_comes_by_the_word_of_an_owner_who_may_not_enter() {
    let hub = Hub::new().await;
    let bob = user("bob", &[]);
    hub.share(with("bob"), Access::Full, None).await;
    let (text, code) = hub.shares.make_code(code(Access::Full)).await.unwrap();
    let line = hub.lifeline(&bob);
    hub.shares.judged(&name("alice"), false);
    assert!(line.ended().is_cancelled());
    assert_eq!((hub.found(&bob), hub.shares.code(text.expose()).is_none()), (None, true));
    assert!(matches!(hub.shares.accept(&code, &user("carol", &[])).await, Err(ShareError::Over)));
    let again = Hub::over(hub.store.clone(), hub.clock.clone(), Limit::Unlimited, true);
    again.shares.restore(async |_owner| Ok(false)).await.unwrap();
    assert_eq!(again.found(&bob), None, "after a restart, too");
    again.shares.judged(&name("alice"), true);
    assert_eq!(again.found(&bob), Some(Access::Full));
    hub.shares.judged(&name("alice"), true);
    assert_eq!(hub.found(&bob), Some(Access::Full));
    assert!(hub.shares.code(text.expose()).is_some());
}

#[tokio::test]
async fn what_somebody_has_is_found_by_them_and_their_groups_as_long_as_it_is_there() {
    let hub = Hub::new().await;
    let bob = user("bob", &["/lab", "/other"]);
    let named = |shares: Vec<Arc<Share>>| -> Vec<_> {
        shares.iter().map(|share| (share.of.user.to_string(), share.with.to_string())).collect()
    };
    let by_name = hub.share(with("bob"), Access::Read, None).await;
    hub.advance(1);
    let by_group = hub.share(With::Group(group("main", "/lab")), Access::Full, None).await;
    hub.share(With::Group(group("other", "/lab")), Access::Full, None).await;
    hub.share(with("carol"), Access::Full, None).await;
    let of_bob = WorkspaceId { user: name("bob"), server: ServerName::default() };
    let to_lab = NewShare {
        of: of_bob,
        by: name("bob"),
        ..new(With::Group(group("main", "/lab")), Access::Read, None)
    };
    hub.shares.make(to_lab).await.unwrap();
    let expected = |with: &str| ("alice".to_owned(), with.to_owned());
    let both = [expected("user bob"), expected("group /lab")];
    assert_eq!(named(hub.shares.with(&bob)), both, "and not one's own");
    let again = hub.again(Limit::Unlimited, true).await;
    assert_eq!(named(again.shares.with(&bob)), both, "after a restart");
    hub.share(with("bob"), Access::Full, None).await;
    assert_eq!(named(hub.shares.with_only(&with("bob"))), both[..1], "once");
    hub.shares.end(&by_name).await.unwrap();
    hub.shares.end(&by_group).await.unwrap();
    assert!(hub.shares.with(&bob).is_empty());
    for share in hub.shares.of(&name("bob")).iter().chain(&hub.shares.of(&name("alice"))) {
        hub.shares.end(share).await.unwrap();
    }
    let (_text, code) = hub.shares.make_code(code(Access::Read)).await.unwrap();
    hub.shares.end_code(&code).await.unwrap();
    let inner = &hub.shares.0;
    assert!(inner.by_with.is_empty() && inner.live.is_empty() && inner.codes_by_owner.is_empty());
    assert!(again.shares.codes_of(&name("alice")).is_empty());
}

#[tokio::test]
async fn what_is_accepted_makes_nothing_less() {
    let hub = Hub::new().await;
    let bob = user("bob", &[]);
    hub.share(with("bob"), Access::Full, None).await;
    let line = hub.lifeline(&bob);
    let short = NewCode { share_expires: Some(START + 60), ..code(Access::Read) };
    let (_text, code) = hub.shares.make_code(short).await.unwrap();
    assert_eq!(code.expires, START + 60, "it cannot be accepted longer than it gives something");
    let share = hub.shares.accept(&code, &bob).await.unwrap();
    assert_eq!(share.terms(), Terms { access: Access::Full, expires: Some(START + 30 * DAY) });
    let carols = hub.shares.accept(&code, &user("carol", &[])).await.unwrap();
    assert_eq!(carols.terms(), Terms { access: Access::Read, expires: Some(START + 60) });
    assert!(!line.ended().is_cancelled());
}

#[tokio::test]
async fn shares_and_codes_of_one_owner_have_a_bound_and_an_end() {
    let hub = Hub::new().await;
    for number in 0..Shares::PER_OWNER {
        hub.share(With::Group(group("main", &format!("/{number}"))), Access::Read, None).await;
    }
    let one_more = || new(with("bob"), Access::Read, None);
    assert!(matches!(hub.shares.make(one_more()).await, Err(ShareError::TooMany { .. })));
    hub.share(With::Group(group("main", "/7")), Access::Full, None).await;
    let first = hub.shares.of(&name("alice")).remove(0);
    hub.shares.end(&first).await.unwrap();
    hub.shares.make(one_more()).await.unwrap();
    for _ in 0..Shares::CODES_PER_OWNER {
        hub.shares.make_code(code(Access::Read)).await.unwrap();
    }
    let too_many = hub.shares.make_code(code(Access::Read)).await;
    assert!(matches!(too_many, Err(ShareError::TooManyCodes { .. })));
    assert_eq!(hub.shares.end_codes_of(&workspace("")).await.unwrap(), Shares::CODES_PER_OWNER);
    for wrong in [0, START, START + 30 * DAY + 1, u64::MAX] {
        let made = hub.shares.make(new(with("carol"), Access::Read, Some(wrong))).await;
        assert!(matches!(made, Err(ShareError::Lifetime { .. })), "{wrong}");
        let made = hub.shares.make_code(NewCode { expires: Some(wrong), ..code(Access::Read) }).await;
        assert!(matches!(made, Err(ShareError::Lifetime { .. })), "{wrong}");
        let made = hub.shares.make_code(NewCode { share_expires: Some(wrong), ..code(Access::Read) }).await;
        assert!(matches!(made, Err(ShareError::Lifetime { .. })), "{wrong}");
    }
}

#[tokio::test]
async fn a_workspace_that_is_no_more_takes_its_shares_and_codes_along() {
    let hub = Hub::new().await;
    let gpu = workspace("gpu");
    hub.share(with("bob"), Access::Read, None).await;
    let shared = NewShare { of: gpu.clone(), ..new(with("bob"), Access::Full, None) };
    hub.shares.make(shared).await.unwrap();
    let (text, _code) =
        hub.shares.make_code(NewCode { of: gpu.clone(), ..code(Access::Full) }).await.unwrap();
    hub.shares.forget(&gpu).await.unwrap();
    assert!(hub.shares.find(&gpu, &user("bob", &[])).is_none());
    assert!(hub.shares.code(text.expose()).is_none());
    assert_eq!(hub.found(&user("bob", &[])), Some(Access::Read));
    let shared = NewShare { of: gpu.clone(), ..new(with("bob"), Access::Full, None) };
    hub.shares.make(shared).await.unwrap();
    hub.shares.make_code(NewCode { of: gpu.clone(), ..code(Access::Full) }).await.unwrap();
    hub.shares.forget_gone(|id| id.server.is_default());
    assert!(hub.shares.codes_of(&name("alice")).is_empty());
    let shared = hub.shares.with(&user("bob", &[]));
    assert_eq!(shared.iter().map(|share| share.of.clone()).collect::<Vec<_>>(), [workspace("")]);
}

#[tokio::test]
async fn what_is_shared_with_a_group_of_the_hubs_own_is_open_to_whoever_is_in_it() {
    let hub = Hub::new().await;
    let (physics, bob, carol) = (Group::own("physics"), user("bob", &[]), user("carol", &["physics"]));
    let of = GroupName::parse("physics").unwrap();
    hub.groups.make(std::slice::from_ref(&of), &[name("bob")].into(), "ada").await.unwrap();
    hub.share(With::Group(physics.clone()), Access::Full, None).await;
    assert_eq!(hub.found(&bob), Some(Access::Full));
    assert_eq!(hub.found(&carol), None, "the provider's group of this name is another one");
    assert_eq!(hub.shares.with(&bob).len(), 1);

    let line = hub.lifeline(&bob);
    hub.groups.remove(&of, &[name("bob")].into(), "ada").await.unwrap();
    hub.shares.close(&With::Group(physics.clone()));
    assert!(line.ended().is_cancelled() && hub.found(&bob).is_none());

    // As soon as the provider has a group of the same name, ours counts for nothing.
    hub.groups.add(&of, [name("bob")].into(), "ada").await.unwrap();
    let line = hub.lifeline(&bob);
    hub.shares.told(&[group("main", "physics")]);
    assert!(line.ended().is_cancelled() && hub.found(&bob).is_none());
    assert!(hub.groups.hide_only(hub.groups.told(), |_told| false).is_empty());

    // A later group of the same name has nothing of what this one had.
    assert_eq!(hub.found(&bob), Some(Access::Full));
    hub.groups.end(&of, "ada").await.unwrap();
    hub.shares.end_with(&With::Group(physics)).await.unwrap();
    hub.groups.make(&[of], &[name("bob")].into(), "ada").await.unwrap();
    assert_eq!(hub.found(&bob), None);
    let again = Hub::over(hub.store.clone(), hub.clock.clone(), Limit::Unlimited, true);
    again.groups.restore().await.unwrap();
    again.shares.restore(async |_owner| Ok(true)).await.unwrap();
    assert_eq!(again.found(&bob), None);
}
