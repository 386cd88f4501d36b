//! Sessions that are renewed at the provider: what it says now takes the place of what it said before.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use hubgate::clock::Clock;
use hubgate::config::{self, Span};
use hubgate::forward::Lifeline;
use hubgate::identity::Identity;
use hubgate::metrics::Metrics;
use hubgate::oidc::{Answer, Provider, Providers, Want};
use hubgate::seal::Sealer;
use hubgate::session::{News, Parts, Renewed, Session, Sessions};
use hubgate::store::Store;
use hubgate::tasks::Tasks;
use hubgate::user::{Claims, User, UserName};
use serde_json::json;
use support::eventually::eventually;
use support::provider::{ClientProof, Lie, Provider as Fake, Signed};

const NOW: u64 = 1_700_000_000;
const INTERVAL: u64 = 300;
const GRACE: u64 = 3600;

/// Sessions, and the provider that they come from. Who is in `/lab` may enter; who has the role `admin` administers.
struct Hub {
    fake: Fake,
    provider: Provider,
    sessions: Sessions,
    store: Store,
    clock: Clock,
    metrics: Metrics,
    told: Arc<Mutex<Vec<Option<String>>>>,
    /// Who may enter and who may not, as it was told.
    judged: Arc<Mutex<Vec<bool>>>,
    /// Who may do less than before, as it was told.
    lost: Arc<Mutex<Vec<String>>>,
    /// Happens once, while a renewal is under way.
    meanwhile: Meanwhile,
}

type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

impl Hub {
    async fn start() -> Self {
        let fake = Fake::start().await;
        fake.set_time(NOW);
        let store = Store::in_memory().await.unwrap();
        Self::over(fake, store, Clock::manual(NOW))
    }

    fn over(fake: Fake, store: Store, clock: Clock) -> Self {
        let provider = crate::oidc::provider(&crate::oidc::by_issuer(&fake.issuer()), &clock).unwrap();
        let metrics = Metrics::new();
        let told = Arc::<Mutex<Vec<Option<String>>>>::default();
        let judged = Arc::<Mutex<Vec<bool>>>::default();
        let (lost, meanwhile) = (Arc::<Mutex<Vec<String>>>::default(), Meanwhile::default());
        let (tell, judge_told) = (Arc::clone(&told), Arc::clone(&judged));
        let (lost_told, meanwhile_told) = (Arc::clone(&lost), Arc::clone(&meanwhile));
        let sessions = Sessions::new(Parts {
            config: config::Session {
                idle_timeout: Span(Duration::from_hours(24)),
                refresh_interval: Span::seconds(INTERVAL),
                outage_grace: Span::seconds(GRACE),
                ..config::Session::default()
            },
            judge: Arc::new(|_provider, identity, name| judge(identity, name)),
            tell: Arc::new(move |user, news| match news {
                News::Token(token) => {
                    tell.lock().unwrap().push(token.map(|token| token.expose().to_owned()));
                }
                News::Judged(_, _, user) => {
                    judge_told.lock().unwrap().push(user.is_some());
                    let meanwhile = meanwhile_told.lock().unwrap().take();
                    if let Some(meanwhile) = meanwhile {
                        meanwhile();
                    }
                }
                News::Less => lost_told.lock().unwrap().push(user.to_string()),
            }),
            providers: Providers::new(vec![("main".into(), provider.clone())]),
            store: store.clone(),
            sealer: Arc::new(Sealer::new(&[7; 32])),
            clock: clock.clone(),
            metrics: metrics.clone(),
            tasks: Tasks::default(),
        });
        Self { fake, provider, sessions, store, clock, metrics, told, judged, lost, meanwhile }
    }

    /// The same hub after a restart.
    async fn restarted(&self) -> Self {
        let hub = Self::over(self.fake.clone(), self.store.clone(), self.clock.clone());
        hub.sessions.restore().await.unwrap();
        hub
    }

    async fn log_in(&self) -> Arc<Session> {
        self.fake.user("alice", json!({"groups": ["/lab"], "realm_access": {"roles": ["admin"]}}));
        let (url, login) = self.provider.begin(&Want::default()).await.unwrap();
        let answer = Answer::parse(&self.fake.sign_in(&url).await).unwrap();
        let (identity, tokens) = self.provider.finish(&login, &answer).await.unwrap();
        let name = UserName::parse("alice").unwrap();
        self.store.name_user(&identity.issuer, &identity.subject, &name, NOW).await.unwrap();
        let user = judge(&identity, &name).unwrap();
        self.sessions.begin("main".into(), user, identity, tokens).await.unwrap().1
    }

    /// Time goes by, here and at the provider.
    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.fake.set_time(self.clock.now());
    }

    fn refreshes(&self) -> usize {
        let seen = self.fake.requests();
        seen.iter().filter(|seen| seen.form_value("grant_type") == Some("refresh_token")).count()
    }
}

fn judge(identity: &Identity, name: &UserName) -> Option<User> {
    let admin = identity.strings(&["realm_access", "roles"]).contains(&"admin");
    identity.strings(&["groups"]).contains(&"/lab").then(|| User {
        name: name.clone(),
        admin,
        profiles: [Arc::from("lab")].into(),
        routes: [].into(),
        groups: [].into(),
        claims: Claims::default(),
        memory: None,
        cpu: None,
    })
}

/// Cut, as seen by whoever holds something open on it.
fn is_cut(session: &Session, before: &Arc<Lifeline>) -> bool {
    !Arc::ptr_eq(&session.standing().lifeline, before)
}

#[tokio::test]
async fn a_storm_of_requests_makes_one_refresh_whose_result_all_share() {
    let hub = Hub::start().await;
    hub.fake.rotate_refresh_tokens();
    let session = hub.log_in().await;
    let before = session.standing();
    assert!(hub.sessions.is_settled(&session), "nothing is due yet");
    hub.wait(INTERVAL);
    assert!(!hub.sessions.is_settled(&session));
    let tasks = Tasks::default();
    let storm = (0..200).map(|_| {
        let (sessions, session) = (hub.sessions.clone(), Arc::clone(&session));
        tasks.spawn(async move { sessions.renewed(&session).await })
    });
    for request in storm.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap(), Renewed::Stands);
    }
    assert_eq!(hub.refreshes(), 1);
    assert!(hub.sessions.is_settled(&session));
    let after = session.standing();
    let token = |standing: &hubgate::session::Standing| {
        standing.tokens.refresh_token.as_ref().unwrap().expose().to_owned()
    };
    assert_ne!(token(&after), token(&before), "the new one is kept");
    assert!(!is_cut(&session, &before.lifeline), "and what is open stays open");
    let access = after.tokens.access_token.as_ref().unwrap().expose().to_owned();
    assert_eq!(hub.told.lock().unwrap().last(), Some(&Some(access)));
}

#[tokio::test]
async fn many_renewals_with_rotation_and_restarts_between_never_use_a_token_twice() {
    let mut hub = Hub::start().await;
    hub.fake.rotate_refresh_tokens();
    let id = hub.log_in().await.id;
    for _ in 0..20 {
        hub.wait(INTERVAL);
        let session = hub.sessions.by_id(&id).unwrap();
        assert_eq!(hub.sessions.renewed(&session).await, Renewed::Stands);
        hub = hub.restarted().await;
    }
    assert_eq!(hub.refreshes(), 20);
    let used: BTreeSet<_> = (hub.fake.requests().iter())
        .filter_map(|seen| seen.form_value("refresh_token").map(str::to_owned))
        .collect();
    assert_eq!(used.len(), 20);
}

#[tokio::test]
async fn tokens_that_rotated_are_kept_through_trouble_and_a_restart() {
    let hub = Hub::start().await;
    hub.fake.rotate_refresh_tokens();
    let id = hub.log_in().await.id;
    hub.wait(INTERVAL);
    hub.fake.lie(Lie::UserinfoServerError);
    let session = hub.sessions.by_id(&id).unwrap();
    assert!(matches!(hub.sessions.renewed(&session).await, Renewed::Waits { .. }));
    hub.fake.be_honest();
    let hub = hub.restarted().await;
    hub.wait(INTERVAL);
    let session = hub.sessions.by_id(&id).unwrap();
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Stands, "the old one would be used twice");
}

#[tokio::test]
async fn roles_after_a_refresh_are_those_of_the_refresh_and_no_others() {
    let hub = Hub::start().await;
    let session = hub.log_in().await;
    let open = Arc::clone(&session.standing().lifeline);
    assert!(session.standing().user.admin);
    hub.fake.user("alice", json!({"groups": ["/lab"], "realm_access": {"roles": ["other"]}}));
    hub.wait(INTERVAL);
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Stands);
    assert!(!session.standing().user.admin);
    assert_eq!(*hub.lost.lock().unwrap(), ["alice"]);
    assert_eq!(session.standing().identity.strings(&["realm_access", "roles"]), ["other"]);
    assert!(is_cut(&session, &open), "what was opened with more is closed");
    hub.fake.user("alice", json!({"groups": ["/lab"], "realm_access": null}));
    hub.wait(INTERVAL);
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Stands);
    assert_eq!(
        session.standing().identity.claims.get("realm_access"),
        None,
        "what is not said again is gone"
    );
    // More is no reason to close anything.
    let open = Arc::clone(&session.standing().lifeline);
    hub.fake.user("alice", json!({"groups": ["/lab"], "realm_access": {"roles": ["admin"]}}));
    hub.wait(INTERVAL);
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Stands);
    assert!(session.standing().user.admin && !is_cut(&session, &open));
    assert_eq!(*hub.lost.lock().unwrap(), ["alice"], "nothing was lost since");
}

#[tokio::test]
async fn a_renewal_that_a_logout_overtakes_leaves_no_token_with_the_container() {
    let hub = Hub::start().await;
    let session = hub.log_in().await;
    let (sessions, ending) = (hub.sessions.clone(), Arc::clone(&session));
    *hub.meanwhile.lock().unwrap() = Some(Box::new(move || drop(sessions.end(&ending).now_or_never())));
    hub.wait(INTERVAL);
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Ended);
    assert_eq!(hub.told.lock().unwrap().last(), Some(&None));
}

#[tokio::test]
async fn who_may_not_enter_any_more_is_out_with_the_next_renewal() {
    let hub = Hub::start().await;
    let session = hub.log_in().await;
    hub.fake.user("alice", json!({"groups": ["/other"]}));
    hub.wait(INTERVAL);
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Ended);
    assert!(session.ended.is_cancelled() && hub.sessions.by_id(&session.id).is_none());
    assert_eq!(*hub.lost.lock().unwrap(), ["alice"]);
    assert_eq!(hub.told.lock().unwrap().last(), Some(&None), "and their container's token is taken away");
    assert_eq!(hub.restarted().await.sessions.all().len(), 0);
}

#[tokio::test]
async fn tokens_that_strangers_make_up_end_no_session_when_keys_change() {
    let hub = Hub::start().await;
    let session = hub.log_in().await;
    hub.wait(INTERVAL);
    for _ in 0..10 {
        let made_up = hub.fake.access_token_for(Fake::CLIENT_ID).signed(Signed::ByAnUnknownKey).token();
        hub.provider.bearer(&made_up).await.unwrap_err();
    }
    hub.fake.rotate_keys();
    hub.wait(5);
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Stands);
    assert!(session.standing().user.admin, "with its roles");
}

#[tokio::test]
async fn no_session_ends_while_new_keys_cannot_be_fetched() {
    let hub = Hub::start().await;
    let sessions = [hub.log_in().await, hub.log_in().await, hub.log_in().await];
    hub.wait(INTERVAL);
    hub.fake.rotate_keys();
    hub.fake.lie(Lie::KeysServerError);
    // The second and the third come right after a fetch that failed.
    for session in &sessions {
        assert!(matches!(hub.sessions.renewed(session).await, Renewed::Waits { .. }));
    }
    hub.fake.be_honest();
    hub.wait(60);
    for session in &sessions {
        // Nobody waits for a provider in trouble: the answer is there a little later.
        hub.sessions.renewed(session).await;
        eventually("it stands again", || async { hub.sessions.renewed(session).await == Renewed::Stands })
            .await;
        assert!(session.standing().user.admin);
    }
}

#[tokio::test]
async fn only_the_providers_own_word_ends_a_session() {
    for (lie, ends) in [
        (Lie::TokenServerError, false),
        (Lie::TokenHtml, false),
        (Lie::TokenRedirect, false),
        (Lie::UserinfoServerError, false),
        (Lie::UserinfoOtherSubject, true),
        (Lie::IdTokenOtherIssuer, true),
        (Lie::IdTokenBadSignature, true),
    ] {
        let hub = Hub::start().await;
        let session = hub.log_in().await;
        hub.fake.lie(lie);
        hub.wait(INTERVAL);
        let outcome = hub.sessions.renewed(&session).await;
        let expected = if ends { Renewed::Ended } else { Renewed::Waits { until: NOW + INTERVAL + GRACE } };
        assert_eq!(outcome, expected, "{lie:?}");
    }
    // A refusal of the client is none of the person.
    let hub = Hub::start().await;
    let session = hub.log_in().await;
    hub.fake.take_client_by(ClientProof::Post);
    hub.wait(INTERVAL);
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Waits { until: NOW + INTERVAL + GRACE });
    let hub = Hub::start().await;
    let session = hub.log_in().await;
    hub.fake.disable("alice");
    hub.wait(INTERVAL);
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Ended, "a disabled user");
    assert_eq!(*hub.judged.lock().unwrap(), [false], "whose API tokens end, too");
    let hub = Hub::start().await;
    let session = hub.log_in().await;
    hub.fake.forget_sessions();
    hub.wait(INTERVAL);
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Ended, "a session that is over");
}

#[tokio::test]
async fn a_session_goes_on_while_the_provider_is_away_and_waits_when_that_takes_too_long() {
    let hub = Hub::start().await;
    let session = hub.log_in().await;
    let open = Arc::clone(&session.standing().lifeline);
    hub.fake.set_lifetimes(300, 10 * GRACE);
    hub.wait(INTERVAL);
    hub.sessions.renewed(&session).await;
    hub.fake.stop();
    hub.wait(INTERVAL);
    let until = hub.clock.now() + GRACE;
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Waits { until });
    assert_eq!(hub.sessions.outage(&session), Some(until));
    // Later requests do not wait for it: the next attempt goes on beside them.
    hub.wait(100);
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Waits { until });
    assert!(!is_cut(&session, &open));
    hub.wait(GRACE);
    let suspended =
        || async { hub.sessions.renewed(&session).await == Renewed::Suspended && is_cut(&session, &open) };
    eventually("nothing is open in its name", suspended).await;
    assert!(hub.sessions.by_id(&session.id).is_some(), "it is not over");
    hub.fake.restart().await;
    hub.wait(120);
    eventually("it stands again", || async { hub.sessions.renewed(&session).await == Renewed::Stands }).await;
    assert_eq!(hub.sessions.outage(&session), None);
}

#[tokio::test]
async fn attempts_at_a_provider_that_is_away_are_few() {
    let hub = Hub::start().await;
    let session = hub.log_in().await;
    hub.wait(INTERVAL);
    hub.fake.lie(Lie::TokenServerError);
    hub.sessions.renewed(&session).await;
    for _ in 0..100 {
        hub.sessions.renewed(&session).await;
    }
    assert_eq!(hub.refreshes(), 1, "none before its time");
    for second in 0..600 {
        hub.wait(1);
        let before = hub.refreshes();
        let due = !hub.sessions.is_settled(&session) && {
            hub.sessions.renewed(&session).await;
            second % 60 == 0
        };
        if due {
            // Lets the attempt beside the requests end, when there is one.
            tokio::task::yield_now().await;
        }
        assert!(hub.refreshes() <= before + 1);
    }
    assert!(hub.refreshes() < 20, "{} in ten minutes", hub.refreshes());
}

#[tokio::test]
async fn what_is_open_is_renewed_though_no_request_comes() {
    let hub = Hub::start().await;
    let session = hub.log_in().await;
    hub.wait(2 * INTERVAL + 1);
    hub.sessions.renew_due();
    assert_eq!(hub.refreshes(), 0, "a browser that is away keeps nothing alive at the provider");
    let other = hub.log_in().await;
    hub.wait(INTERVAL);
    hub.fake.user("alice", json!({"groups": ["/other"]}));
    hub.sessions.renew_due();
    eventually("the one in use is over", || async { other.ended.is_cancelled() }).await;
    assert!(!session.ended.is_cancelled(), "the other is asked about when its browser comes back");
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Ended);
}

#[tokio::test]
async fn what_was_issued_before_not_before_is_renewed_at_once() {
    let hub = Hub::start().await;
    let old = hub.log_in().await;
    hub.wait(20);
    hub.fake.set_not_before(NOW + 10);
    // Whoever signs in next brings the news.
    let new = hub.log_in().await;
    hub.sessions.renew_due();
    eventually("the old one is over", || async { old.ended.is_cancelled() }).await;
    assert!(!new.ended.is_cancelled() && hub.sessions.is_settled(&new));
}

#[tokio::test]
async fn a_token_that_expires_soon_is_renewed_before_it_does() {
    let hub = Hub::start().await;
    hub.fake.set_lifetimes(60, 1800);
    let session = hub.log_in().await;
    hub.wait(47);
    assert!(hub.sessions.is_settled(&session));
    hub.wait(1);
    assert!(!hub.sessions.is_settled(&session));
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Stands);
    assert_eq!(hub.metrics.renewals.get_or_create(&hubgate::metrics::Outcome { result: "ok" }).get(), 1);
}

#[tokio::test]
async fn a_refresh_token_that_expires_first_decides_when_a_session_is_renewed() {
    let hub = Hub::start().await;
    // Near the end of its session, Keycloak's refresh tokens live shorter than its access tokens.
    hub.fake.set_lifetimes(250, 60);
    let session = hub.log_in().await;
    hub.wait(47);
    assert!(hub.sessions.is_settled(&session));
    hub.wait(1);
    assert!(!hub.sessions.is_settled(&session));
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Stands);
}

#[tokio::test]
async fn a_session_is_over_when_the_provider_says_so_and_not_by_its_numbers() {
    let hub = Hub::start().await;
    hub.fake.set_lifetimes(300, 90);
    let session = hub.log_in().await;
    // Keycloak gives an idle session two minutes more than it says: here its clock does.
    hub.clock.advance(Duration::from_secs(200));
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Stands);
    hub.clock.advance(Duration::from_secs(10));
    hub.wait(200);
    assert_eq!(hub.sessions.renewed(&session).await, Renewed::Ended, "now it does say so");
}

#[tokio::test]
async fn a_renewal_goes_on_when_whoever_began_it_is_gone() {
    let hub = Hub::start().await;
    hub.fake.rotate_refresh_tokens();
    let session = hub.log_in().await;
    hub.wait(INTERVAL);
    // The browser's request is cancelled at once.
    let request = hub.sessions.renewed(&session);
    drop(tokio::time::timeout(Duration::ZERO, request).await);
    eventually("it is renewed", || async { hub.sessions.is_settled(&session) }).await;
    hub.wait(INTERVAL);
    // The first may still be about to say that it is done.
    let again = || async { hub.sessions.renewed(&session).await == Renewed::Stands && hub.refreshes() == 2 };
    eventually("it is renewed again, with what the first brought", again).await;
}
