//! API tokens: what is found by one, what it may do, and until when.

#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use hubgate::clock::{Clock, Timestamp};
use hubgate::config::{self, Span};
use hubgate::identity::Identity;
use hubgate::metrics::Metrics;
use hubgate::people::People;
use hubgate::seal::Sealer;
use hubgate::store::{ApiTokenRow, Store, StoreError};
use hubgate::token::{
    ApiToken, ApiTokens, NewToken, Note, Reach, Right, Scope, Scopes, Target, TokenError, TokenId,
};
use hubgate::user::{Claims, User, UserName};

const ISSUER: &str = "https://provider.example";
const PROVIDER: &str = "main";
const LIFETIME: u64 = 1000;
const LONGEST: u64 = 5000;
const START: Timestamp = 1_000_000;

struct Hub {
    tokens: ApiTokens,
    people: People,
    store: Store,
    clock: Clock,
    metrics: Metrics,
}

impl Hub {
    async fn new() -> Self {
        Self::over(Store::in_memory().await.expect("a store"), Clock::manual(START))
    }

    async fn at(folder: &Path) -> Self {
        Self::over(Store::open(folder).await.expect("a store"), Clock::manual(START))
    }

    fn over(store: Store, clock: Clock) -> Self {
        Self::sealed_by([7; 32], store, clock)
    }

    fn sealed_by(key: [u8; 32], store: Store, clock: Clock) -> Self {
        let config = config::Api {
            token_lifetime: Span::seconds(LIFETIME),
            token_lifetime_max: Span::seconds(LONGEST),
        };
        let metrics = Metrics::new();
        let sealer = Arc::new(Sealer::new(&key));
        let people = People::new(store.clone(), Arc::clone(&sealer), clock.clone());
        let tokens = ApiTokens::new(&config, store.clone(), sealer, clock.clone(), metrics.clone());
        Self { tokens, people, store, clock, metrics }
    }

    /// The same hub after a restart: its memory is gone.
    fn restarted(&self) -> Self {
        Self::over(self.store.clone(), self.clock.clone())
    }

    async fn named(&self, name: &str) {
        let named = self
            .store
            .name_user(ISSUER, name, &user(name, false).name, self.clock.now())
            .await
            .expect("a name");
        self.people.remember(&named, PROVIDER, &identity(name, &[])).await.expect("kept");
    }

    async fn token(&self, owner: &User, scopes: &[Scope]) -> (String, Arc<ApiToken>) {
        let new = NewToken { scopes: scopes.iter().copied().collect(), note: note("test"), expires: None };
        let (secret, token) = self.tokens.create(right(owner), new).await.expect("a token");
        (secret.expose().to_owned(), token)
    }

    /// Takes everything back; who has the role may enter.
    async fn restore_with_role(&self, role: &str) -> usize {
        let judge = async |name: &UserName| {
            let known = self.people.recall(name).await?;
            let has = known.is_some_and(|known| known.identity.strings(&["roles"]).contains(&role));
            Ok(has.then(|| right(&user(name.as_str(), false))))
        };
        self.tokens.restore(judge).await.expect("tokens")
    }

    async fn restore(&self) -> usize {
        let judge = async |name: &UserName| Ok::<_, StoreError>(Some(right(&user(name.as_str(), false))));
        self.tokens.restore(judge).await.expect("tokens")
    }

    async fn rows(&self) -> Vec<ApiTokenRow> {
        self.store.api_tokens(None).await.expect("rows")
    }
}

fn user(name: &str, admin: bool) -> User {
    let name = UserName::parse(name).expect("a user name");
    User {
        name,
        admin,
        profiles: [Arc::from("lab")].into(),
        routes: [].into(),
        groups: [].into(),
        claims: Claims::default(),
        memory: None,
        cpu: None,
    }
}

fn right(user: &User) -> Right {
    Right { provider: PROVIDER.into(), user: user.clone() }
}

fn identity(name: &str, roles: &[&str]) -> Identity {
    let claims = serde_json::json!({ "preferred_username": name, "roles": roles });
    Identity {
        issuer: ISSUER.to_owned(),
        subject: name.to_owned(),
        sid: None,
        claims: claims.as_object().cloned().unwrap_or_default(),
    }
}

fn note(text: &str) -> Note {
    Note::parse(text).expect("a note")
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

const ORDINARY: &[Scope] = &[Scope::AccessServers, Scope::Servers];

#[tokio::test]
async fn an_api_token_is_found_after_a_restart_with_all_that_was_said_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::at(folder.path()).await;
    hub.named("alice").await;
    let (text, before) = hub.token(&user("alice", false), ORDINARY).await;
    assert!(text.starts_with("hubgate_") && text.len() == 51, "{text}");
    drop(hub);

    let hub = Hub::at(folder.path()).await;
    assert!(hub.tokens.find(&text).is_none(), "nothing is restored yet");
    assert_eq!(hub.restore().await, 1);
    let after = hub.tokens.find(&text).expect("the token");
    assert_eq!((after.id, after.hash, after.owner.name.as_str()), (before.id, before.hash, "alice"));
    assert_eq!((after.created, after.expires), (START, START + LIFETIME));
    assert_eq!(
        (after.scopes().names(), after.note.as_str()),
        (names(&["access:servers", "servers!user"]), "test")
    );
    assert_eq!(hub.metrics.api_tokens.get(), 1);
}

#[tokio::test]
async fn a_token_of_an_earlier_release_does_what_it_did_and_no_more() {
    let hub = Hub::new().await;
    hub.named("ada").await;
    let ada = user("ada", true);
    let (text, token) = hub.token(&ada, ORDINARY).await;
    let row = hub.rows().await.pop().unwrap();
    let line = "access:servers servers read:users tokens start:servers!user shares list:users delete:servers gone:scope";
    let old = serde_json::json!({
        "version": 1, "id": row.id, "owner": "ada", "scopes": line, "note": "", "created": START,
        "expires": row.expires,
    });
    let context = format!("api token:{}", hubgate::seal::hex(&token.hash));
    let sealed = Sealer::new(&[7; 32]).seal(&context, old.to_string().as_bytes());
    hub.store.delete_api_tokens(&[row.id]).await.unwrap();
    hub.store.insert_api_token(&ApiTokenRow { sealed, ..row }).await.unwrap();
    let hub = hub.restarted();
    let judge = async |_: &UserName| Ok::<_, StoreError>(Some(right(&user("ada", true))));
    assert_eq!(hub.tokens.restore(judge).await.unwrap(), 1);
    let after = hub.tokens.find(&text).unwrap();
    // Of an administrator's token, too, these reached nobody else.
    let expected = [
        "access:servers",
        "servers!user",
        "read:users!user",
        "tokens!user",
        "start:servers!user",
        "delete:servers",
        "shares!user",
        "list:users",
    ];
    assert_eq!(after.scopes().names(), expected);
}

#[tokio::test]
async fn filters_are_kept_sealed_and_found_again() {
    let hub = Hub::new().await;
    hub.named("ada").await;
    let texts = ["servers!group=/a b", "servers!server=bob/gpu", "read:users!user=bob", "tokens!user=ada"];
    let ada = user("ada", true);
    let scopes = Scopes::parse(texts, Some(&ada.name)).unwrap();
    let new = NewToken { scopes: scopes.clone(), note: Note::default(), expires: None };
    let (secret, token) = hub.tokens.create(right(&ada), new).await.unwrap();
    assert_eq!(token.scopes(), scopes);
    let hub = hub.restarted();
    let judge = async |_: &UserName| Ok::<_, StoreError>(Some(right(&user("ada", true))));
    hub.tokens.restore(judge).await.unwrap();
    assert_eq!(hub.tokens.find(secret.expose()).unwrap().scopes(), scopes);
    // Without the role they reach nobody else, and not by what a token of a lesser person's would.
    hub.tokens.judged(&ada.name, Some(right(&user("ada", false)))).await.unwrap();
    assert_eq!(hub.tokens.find(secret.expose()).unwrap().scopes().names(), ["tokens!user"]);
}

#[tokio::test]
async fn a_stolen_or_changed_database_makes_no_api_token() {
    let hub = Hub::new().await;
    for name in ["alice", "bob"] {
        hub.named(name).await;
    }
    let (text, token) = hub.token(&user("alice", false), ORDINARY).await;
    let (_, other) = hub.token(&user("bob", true), &Scope::ALL).await;
    let rows = hub.rows().await;
    let random = text.strip_prefix("hubgate_").unwrap();
    for row in &rows {
        assert!(!format!("{row:?}").contains(random), "the token itself is nowhere");
    }
    let row = |id: TokenId| rows.iter().find(|row| TokenId::parse(&hex(row.id)) == Some(id)).unwrap().clone();
    let (alices, bobs) = (row(token.id), row(other.id));
    for forged in [
        ApiTokenRow { owner: bobs.owner.clone(), ..alices.clone() },
        ApiTokenRow { expires: alices.expires + 1000, ..alices.clone() },
        ApiTokenRow { sealed: bobs.sealed.clone(), ..alices.clone() },
        ApiTokenRow { id: [9; 8], ..alices.clone() },
        ApiTokenRow { hash: alices.hash, sealed: String::new(), ..bobs.clone() },
    ] {
        hub.store.delete_api_tokens(&[alices.id, bobs.id, forged.id]).await.unwrap();
        hub.store.insert_api_token(&forged).await.unwrap();
        let hub = hub.restarted();
        assert_eq!(hub.restore().await, 0, "{forged:?}");
        assert!(hub.tokens.find(&text).is_none());
        assert!(hub.rows().await.is_empty(), "it is dropped");
    }
    hub.store.insert_api_token(&alices).await.unwrap();
    let elsewhere = Hub::sealed_by([8; 32], hub.store.clone(), hub.clock.clone());
    assert_eq!(elsewhere.restore().await, 0, "another installation's key");
}

fn hex(id: [u8; 8]) -> String {
    format!("a{:016x}", u64::from_be_bytes(id))
}

#[tokio::test]
async fn a_revoked_api_token_is_worth_nothing_at_once_and_for_ever() {
    let hub = Hub::new().await;
    hub.named("alice").await;
    let alice = user("alice", false);
    let (text, token) = hub.token(&alice, ORDINARY).await;
    let (other, _) = hub.token(&alice, ORDINARY).await;
    hub.tokens.revoke(&token).await.unwrap();
    assert!(token.ended.is_cancelled(), "what is open for it ends");
    assert!(hub.tokens.find(&text).is_none() && hub.tokens.by_hash(&token.hash).is_none());
    assert!(hub.tokens.find(&other).is_some(), "the other one lives");
    let hub = hub.restarted();
    assert_eq!(hub.restore().await, 1);
    assert!(hub.tokens.find(&text).is_none());
    assert_eq!(hub.tokens.revoke_all(&alice.name).await.unwrap(), 1);
    assert!(hub.rows().await.is_empty());
}

#[tokio::test]
async fn an_api_token_ends_by_itself() {
    let hub = Hub::new().await;
    hub.named("alice").await;
    let (text, token) = hub.token(&user("alice", false), ORDINARY).await;
    hub.clock.advance(Duration::from_secs(LIFETIME - 1));
    assert!(hub.tokens.find(&text).is_some());
    hub.clock.advance(Duration::from_secs(1));
    assert!(hub.tokens.find(&text).is_none(), "use does not lengthen its life");
    assert!(hub.tokens.of(&token.owner.name).is_empty());
    hub.tokens.sweep().await.unwrap();
    assert!(token.ended.is_cancelled());
    assert!(hub.rows().await.is_empty());
    assert_eq!(hub.metrics.api_tokens.get(), 0);
}

#[tokio::test]
async fn nobody_makes_a_token_that_lives_too_long_or_may_too_much() {
    let hub = Hub::new().await;
    hub.named("alice").await;
    let alice = user("alice", false);
    let new = |scopes: Scopes, expires| NewToken { scopes, note: Note::default(), expires };
    let ordinary = Scopes::ordinary;
    for expires in [0, START, START + LONGEST + 1, Timestamp::MAX] {
        let refused = hub.tokens.create(right(&alice), new(ordinary(), Some(expires))).await;
        assert!(matches!(refused, Err(TokenError::Lifetime { max: LONGEST })), "{expires}");
    }
    for scopes in [Scopes::none(), Scope::ALL.into_iter().collect(), [Scope::ListUsers].into_iter().collect()]
    {
        let refused = hub.tokens.create(right(&alice), new(scopes.clone(), None)).await;
        assert!(matches!(refused, Err(TokenError::Scopes { .. })), "{scopes}");
    }
    assert!(hub.tokens.create(right(&user("bob", false)), new(ordinary(), None)).await.is_err(), "nobody's");
    assert!(hub.rows().await.is_empty());
    let (_, longest) =
        hub.tokens.create(right(&alice), new(ordinary(), Some(START + LONGEST))).await.unwrap();
    assert_eq!(longest.expires, START + LONGEST);
}

#[tokio::test]
async fn one_person_cannot_fill_the_memory_with_tokens() {
    let hub = Hub::new().await;
    for name in ["alice", "bob"] {
        hub.named(name).await;
    }
    let alice = user("alice", false);
    for _ in 0..ApiTokens::PER_OWNER {
        hub.token(&alice, ORDINARY).await;
    }
    let new = NewToken { scopes: Scopes::ordinary(), note: Note::default(), expires: None };
    let refused = hub.tokens.create(right(&alice), new).await;
    assert!(matches!(refused, Err(TokenError::TooMany { .. })));
    hub.token(&user("bob", false), ORDINARY).await;
}

#[tokio::test]
async fn many_tokens_at_once_are_no_more_than_one_person_can_have() {
    let hub = Hub::new().await;
    hub.named("alice").await;
    let new = || NewToken { scopes: Scopes::ordinary(), note: Note::default(), expires: None };
    let alice = user("alice", false);
    let making = (0..ApiTokens::PER_OWNER * 2).map(|_| hub.tokens.create(right(&alice), new()));
    let made = futures_util::future::join_all(making).await;
    assert_eq!(made.iter().filter(|made| made.is_ok()).count(), ApiTokens::PER_OWNER);
    assert_eq!(hub.rows().await.len(), ApiTokens::PER_OWNER);
    let one = hub.tokens.of(&alice.name).pop().unwrap();
    hub.tokens.revoke(&one).await.unwrap();
    hub.token(&alice, ORDINARY).await;
}

#[tokio::test]
async fn a_token_that_is_made_while_its_owner_is_barred_is_none() {
    let hub = Hub::new().await;
    hub.named("alice").await;
    let alice = user("alice", false);
    let new = NewToken { scopes: Scopes::ordinary(), note: Note::default(), expires: None };
    let mut making = Box::pin(hub.tokens.create(right(&alice), new.clone()));
    assert!((&mut making).now_or_never().is_none(), "it waits for the store");
    hub.tokens.judged(&alice.name, None).await.unwrap();
    assert!(matches!(making.await, Err(TokenError::Scopes { .. })));
    assert!(hub.tokens.all().is_empty() && hub.rows().await.is_empty());
    // Without a token, too.
    assert!(hub.tokens.create(right(&alice), new.clone()).await.is_err());
    hub.tokens.judged(&alice.name, Some(right(&alice))).await.unwrap();
    hub.tokens.create(right(&alice), new).await.unwrap();
}

#[tokio::test]
async fn an_api_token_may_never_do_more_than_its_owner_may_now() {
    let hub = Hub::new().await;
    hub.named("alice").await;
    let (text, _) = hub.token(&user("alice", true), &Scope::ALL).await;
    let own = user("alice", false).name;
    let target = Target::User { name: &own, server: None, groups: &[] };
    let may =
        |scope| hub.tokens.find(&text).is_some_and(|token| token.reach(&[scope], &target) == Reach::Reaches);
    assert!(may(Scope::AdminSessions) && may(Scope::ListUsers));
    let name = user("alice", false).name;
    hub.tokens.judged(&name, Some(right(&user("alice", false)))).await.unwrap();
    for scope in Scope::ALL {
        assert_eq!(may(scope), !scope.is_admin(), "{}", scope.name());
    }
    hub.tokens.judged(&name, Some(right(&user("alice", true)))).await.unwrap();
    assert!(may(Scope::AdminUsers), "and has them again with the owner");
    let hub = hub.restarted();
    hub.restore().await;
    let after = hub.tokens.find(&text).unwrap();
    assert_eq!(after.reach(&[Scope::AdminUsers], &target), Reach::Lacks, "judged at start");
}

#[tokio::test]
async fn what_is_open_for_a_token_closes_when_its_owner_loses_something() {
    let hub = Hub::new().await;
    hub.named("alice").await;
    let (text, token) = hub.token(&user("alice", true), ORDINARY).await;
    let name = &token.owner.name;
    let before = token.lifeline();
    hub.tokens.judged(name, Some(right(&user("alice", true)))).await.unwrap();
    assert!(Arc::ptr_eq(&before, &token.lifeline()), "nothing is lost");
    hub.tokens.judged(name, Some(right(&user("alice", false)))).await.unwrap();
    assert!(!Arc::ptr_eq(&before, &token.lifeline()), "what is open asks anew");
    assert!(hub.tokens.find(&text).is_some() && !token.ended.is_cancelled(), "and the token goes on");
}

#[tokio::test]
async fn tokens_rest_while_their_owner_may_not_enter() {
    let hub = Hub::new().await;
    for name in ["alice", "bob"] {
        hub.named(name).await;
    }
    let alice = user("alice", false);
    let (text, token) = hub.token(&alice, ORDINARY).await;
    let (revoked, doomed) = hub.token(&alice, ORDINARY).await;
    let (bobs, _) = hub.token(&user("bob", false), ORDINARY).await;
    hub.tokens.revoke(&doomed).await.unwrap();
    hub.tokens.judged(&alice.name, None).await.unwrap();
    assert!(hub.tokens.find(&text).is_none() && token.ended.is_cancelled());
    assert!(hub.tokens.find(&bobs).is_some(), "other people's go on");
    assert_eq!(hub.metrics.api_tokens.get(), 1);
    hub.tokens.judged(&alice.name, None).await.unwrap();
    hub.tokens.sweep().await.unwrap();
    assert!(hub.tokens.find(&text).is_none());
    hub.tokens.judged(&alice.name, Some(right(&alice))).await.unwrap();
    let awake = hub.tokens.find(&text).expect("the token");
    assert!(!awake.ended.is_cancelled());
    assert!(hub.tokens.find(&revoked).is_none(), "what was revoked stays so");

    hub.tokens.judged(&alice.name, None).await.unwrap();
    hub.tokens.revoke_all(&alice.name).await.unwrap();
    hub.tokens.judged(&alice.name, Some(right(&alice))).await.unwrap();
    assert!(hub.tokens.find(&text).is_none(), "also what was revoked at rest");
}

#[tokio::test]
async fn a_lost_right_to_enter_rests_the_tokens_at_the_next_start() {
    let hub = Hub::new().await;
    hub.named("alice").await;
    let alice = user("alice", false);
    hub.people.remember(&alice.name, PROVIDER, &identity("alice", &["hub-user"])).await.unwrap();
    let (text, _) = hub.token(&alice, ORDINARY).await;
    let hub = hub.restarted();
    assert_eq!(hub.restore_with_role("hub-user").await, 1);
    let hub = hub.restarted();
    assert_eq!(hub.restore_with_role("another").await, 0, "the rules have changed");
    assert!(hub.tokens.find(&text).is_none());
    hub.tokens.judged(&alice.name, Some(right(&alice))).await.unwrap();
    assert!(hub.tokens.find(&text).is_some(), "until a login says otherwise");
}

#[tokio::test]
async fn use_of_an_api_token_is_written_down_lazily() {
    let hub = Hub::new().await;
    hub.named("alice").await;
    let (text, token) = hub.token(&user("alice", false), ORDINARY).await;
    let hash = token.hash;
    assert_eq!(token.last_used(), None);
    hub.tokens.by_hash(&hash).unwrap();
    assert_eq!(token.last_used(), None, "to look is no use");
    hub.clock.advance(Duration::from_secs(10));
    hub.tokens.find(&text).unwrap();
    assert_eq!(token.last_used(), Some(START + 10));
    assert_eq!(hub.rows().await[0].last_used, None, "no request waits for the store");
    hub.tokens.sweep().await.unwrap();
    assert_eq!(hub.rows().await[0].last_used, Some(START + 10));
    hub.clock.advance(Duration::from_secs(10));
    hub.tokens.find(&text).unwrap();
    hub.tokens.sweep().await.unwrap();
    assert_eq!(hub.rows().await[0].last_used, Some(START + 10), "not twice in a minute");
    let hub = hub.restarted();
    hub.restore().await;
    assert_eq!(hub.tokens.by_hash(&hash).unwrap().last_used(), Some(START + 10));
}

#[tokio::test]
async fn what_was_last_said_of_a_person_is_kept_sealed_and_is_theirs() {
    let hub = Hub::new().await;
    for name in ["alice", "bob"] {
        hub.named(name).await;
    }
    let name = |text: &str| user(text, false).name;
    hub.people.remember(&name("alice"), PROVIDER, &identity("alice", &["canary-role"])).await.unwrap();
    let known = hub.people.recall(&name("alice")).await.unwrap().expect("alice");
    assert_eq!(
        (known.identity, known.provider.as_str(), known.at),
        (identity("alice", &["canary-role"]), PROVIDER, START)
    );
    let sealed = hub.store.identity(&name("alice")).await.unwrap().expect("a value");
    assert!(!sealed.contains("canary"));
    hub.store.keep_identity(ISSUER, "bob", &sealed).await.unwrap();
    assert_eq!(hub.people.recall(&name("bob")).await.unwrap(), None, "moved to somebody else");
    hub.people.bar(&name("alice"), PROVIDER, &identity("alice", &[])).await.unwrap();
    assert!(hub.people.recall(&name("alice")).await.unwrap().is_some_and(|known| known.barred));
    hub.people.remember(&name("alice"), PROVIDER, &identity("alice", &[])).await.unwrap();
    assert!(hub.people.recall(&name("alice")).await.unwrap().is_some_and(|known| !known.barred));
    hub.people.remember(&name("bob"), PROVIDER, &identity("alice", &[])).await.unwrap();
    assert_eq!(hub.people.recall(&name("bob")).await.unwrap(), None, "said of somebody else");
    assert_eq!(hub.people.recall(&name("carol")).await.unwrap(), None);
    assert_eq!(hub.people.name_of(&identity("bob", &[])).await.unwrap(), Some(name("bob")));
    assert_eq!(hub.people.name_of(&identity("carol", &[])).await.unwrap(), None);
}
