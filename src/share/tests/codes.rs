//! Codes that share.

use super::*;

#[tokio::test]
async fn a_code_lets_many_in_until_it_is_over_or_revoked() {
    let hub = Hub::new().await;
    let (bob, carol) = (user("bob", &[]), user("carol", &[]));
    let (text, _code) = hub.shares.make_code(code(Access::Read)).await.unwrap();
    let found = hub.shares.code(text.expose()).unwrap();
    hub.shares.accept(&found, &bob).await.unwrap();
    hub.shares.accept(&found, &carol).await.unwrap();
    assert_eq!((hub.found(&bob), hub.found(&carol)), (Some(Access::Read), Some(Access::Read)));
    assert_eq!((found.accepted(), found.last_accepted()), (2, Some(START)));
    let own = hub.shares.accept(&found, &user("alice", &[])).await;
    assert!(matches!(own, Err(ShareError::Own { .. })));
    hub.advance(DAY);
    assert!(hub.shares.code(text.expose()).is_none());
    assert!(matches!(hub.shares.accept(&found, &bob).await, Err(ShareError::Over)));
    let (text, code) = hub.shares.make_code(code(Access::Full)).await.unwrap();
    hub.shares.end_code(&code).await.unwrap();
    assert!(hub.shares.code(text.expose()).is_none());
    assert!(matches!(hub.shares.accept(&code, &bob).await, Err(ShareError::Over)));
    assert_eq!(hub.found(&bob), Some(Access::Read), "what it has made stays");
    hub.shares.sweep().await.unwrap();
    assert!(hub.store.share_codes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_code_that_ends_while_it_is_accepted_gives_nothing() {
    let hub = Hub::new().await;
    let (bob, carol) = (user("bob", &[]), user("carol", &[]));
    // It is ended, with its workspace or by itself, between the look at it and what it gives.
    let (_text, made) = hub.shares.make_code(code(Access::Full)).await.unwrap();
    hub.share(with("carol"), Access::Read, Some(START + DAY)).await;
    hub.shares.end_code(&made).await.unwrap();
    for who in [&bob, &carol] {
        assert!(matches!(hub.shares.take(&made, who), Err(ShareError::Over)));
    }
    assert_eq!((hub.found(&bob), hub.found(&carol)), (None, Some(Access::Read)), "as before");
    let kept = hub.shares.of(&name("alice")).remove(0);
    assert_eq!(kept.terms(), Terms { access: Access::Read, expires: Some(START + DAY) });
    // The other way round: the workspace is forgotten, and the store takes its time.
    let (_text, made) = hub.shares.make_code(code(Access::Full)).await.unwrap();
    let turn = hub.shares.0.turn.acquire().await.unwrap();
    let of = workspace("");
    let mut forgotten = std::pin::pin!(hub.shares.forget(&of));
    assert!(futures_util::poll!(&mut forgotten).is_pending());
    let mut accepted = std::pin::pin!(hub.shares.accept(&made, &bob));
    let accepted = match futures_util::poll!(&mut accepted) {
        std::task::Poll::Ready(accepted) => accepted,
        std::task::Poll::Pending => {
            drop(turn);
            forgotten.await.unwrap();
            assert_eq!(hub.found(&bob), None, "it was accepted after its workspace was forgotten");
            return;
        }
    };
    assert!(matches!(accepted, Err(ShareError::Over)));
    drop(turn);
    forgotten.await.unwrap();
    assert_eq!((hub.found(&bob), hub.found(&carol)), (None, None));
    assert!(
        hub.store.shares().await.unwrap().is_empty() && hub.store.share_codes().await.unwrap().is_empty()
    );
}

#[tokio::test]
async fn what_an_owner_takes_back_is_not_had_again_by_a_code_that_was_there() {
    let hub = Hub::new().await;
    let (bob, carol) = (user("bob", &[]), user("carol", &[]));
    let (text, made) = hub.shares.make_code(code(Access::Full)).await.unwrap();
    let share = hub.shares.accept(&made, &bob).await.unwrap();
    // Whoever gives it back can have it again.
    hub.shares.leave(&share).await.unwrap();
    let share = hub.shares.accept(&made, &bob).await.unwrap();
    // Narrowed: as it is from now on, and not as the code has it.
    hub.shares.narrow(&share).await.unwrap();
    assert!(matches!(hub.shares.accept(&made, &bob).await, Err(ShareError::TakenBack { .. })));
    assert!(matches!(hub.shares.take(&made, &bob), Err(ShareError::TakenBack { .. })));
    assert_eq!((hub.found(&bob), made.refused()), (Some(Access::Read), vec![name("bob")]));
    hub.shares.accept(&made, &carol).await.unwrap();
    hub.share(with("carol"), Access::Full, Some(START + 60)).await;
    assert!(matches!(hub.shares.accept(&made, &carol).await, Err(ShareError::TakenBack { .. })), "shorter");
    // Revoked, and after a restart.
    hub.shares.end(&share).await.unwrap();
    let again = hub.again(Limit::Unlimited, true).await;
    for shares in [&hub.shares, &again.shares] {
        let code = shares.code(text.expose()).unwrap();
        assert!(matches!(shares.accept(&code, &bob).await, Err(ShareError::TakenBack { .. })));
    }
    assert_eq!((hub.found(&bob), again.found(&bob)), (None, None));
    // By name, or by another code, they come again. One that gives no more than was left is as good as ever.
    let (_text, read) = hub.shares.make_code(code(Access::Read)).await.unwrap();
    let share = hub.share(with("bob"), Access::Full, None).await;
    hub.shares.narrow(&share).await.unwrap();
    assert!(!read.refuses(&bob.name));
    hub.shares.accept(&read, &bob).await.unwrap();
    // All that is shared of a workspace at once.
    hub.shares.end_of(&workspace("")).await.unwrap();
    assert!(read.refuses(&bob.name) && read.refuses(&carol.name));
}

#[tokio::test]
async fn a_code_that_would_have_to_refuse_too_many_ends() {
    let hub = Hub::new().await;
    let (text, made) = hub.shares.make_code(code(Access::Full)).await.unwrap();
    for number in 0..=code::MOST_REFUSED {
        assert!(hub.shares.code(text.expose()).is_some(), "{number}");
        let share = hub.shares.accept(&made, &user(&format!("u{number}"), &[])).await.unwrap();
        hub.shares.end(&share).await.unwrap();
    }
    assert!(hub.shares.code(text.expose()).is_none());
}
