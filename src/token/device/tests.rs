use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::*;

const ALLOW: Answer = Answer::Allow { session: [1; 32] };

fn logins() -> (DeviceLogins, Clock) {
    let clock = Clock::manual(1_000_000);
    (DeviceLogins::new(clock.clone()), clock)
}

fn asked(address: impl Into<IpAddr>) -> Asked {
    Asked {
        client: ClientLabel::parse("hubgate login").unwrap(),
        scopes: Scopes::ordinary(),
        address: address.into(),
    }
}

fn poll(logins: &DeviceLogins, code: &str) -> Verdict {
    logins.poll(code, &ClientLabel::parse("hubgate login").unwrap())
}

fn by(session: u8) -> Guesser {
    Guesser { session: [session; 32], address: Ipv4Addr::new(192, 0, 2, session).into() }
}

fn advance(clock: &Clock, seconds: u64) {
    clock.advance(Duration::from_secs(seconds));
}

#[test]
fn a_program_waits_for_a_person_and_is_told_once() {
    let (logins, clock) = logins();
    let begun = logins.begin(asked(Ipv4Addr::LOCALHOST)).unwrap();
    let code = begun.device_code.expose();
    assert_eq!(poll(&logins, code), Verdict::Pending);
    let other = ClientLabel::parse("another").unwrap();
    assert_eq!(logins.poll(code, &other), Verdict::Unknown, "it is its own");
    let typed = begun.user_code.to_string().to_lowercase();
    let (user_code, shown) = logins.look(&typed, by(1)).unwrap().unwrap();
    assert_eq!(shown, asked(Ipv4Addr::LOCALHOST));
    assert_eq!(logins.answer(&user_code, ALLOW), Some(shown.clone()));
    assert_eq!(logins.answer(&user_code, Answer::Deny), None, "the first answer holds");
    assert_eq!(logins.look(&typed, by(1)), Ok(None), "nothing is asked any more");
    advance(&clock, 5);
    assert_eq!(poll(&logins, code), Verdict::Allowed { session: [1; 32], asked: shown });
    assert_eq!(poll(&logins, code), Verdict::Unknown, "told once");
}

#[test]
fn a_person_who_says_no_is_heard() {
    let (logins, _clock) = logins();
    let begun = logins.begin(asked(Ipv4Addr::LOCALHOST)).unwrap();
    logins.answer(&begun.user_code, Answer::Deny).unwrap();
    assert_eq!(poll(&logins, begun.device_code.expose()), Verdict::Denied);
    assert_eq!(poll(&logins, begun.device_code.expose()), Verdict::Unknown);
}

#[test]
fn a_program_that_asks_too_often_is_slowed_down() {
    let (logins, clock) = logins();
    let begun = logins.begin(asked(Ipv4Addr::LOCALHOST)).unwrap();
    let code = begun.device_code.expose();
    assert_eq!(poll(&logins, code), Verdict::Pending);
    advance(&clock, 4);
    assert_eq!(poll(&logins, code), Verdict::SlowDown);
    advance(&clock, 9);
    assert_eq!(poll(&logins, code), Verdict::SlowDown, "ten seconds now");
    advance(&clock, 15);
    assert_eq!(poll(&logins, code), Verdict::Pending);
    logins.answer(&begun.user_code, ALLOW).unwrap();
    assert!(matches!(poll(&logins, code), Verdict::Allowed { .. }), "an answer does not wait");
}

#[test]
fn a_device_login_that_nobody_answers_expires() {
    let (logins, clock) = logins();
    let begun = logins.begin(asked(Ipv4Addr::LOCALHOST)).unwrap();
    let late = logins.begin(asked(Ipv4Addr::LOCALHOST)).unwrap();
    logins.answer(&late.user_code, ALLOW).unwrap();
    advance(&clock, DeviceLogins::LIFETIME);
    assert_eq!(logins.look(&begun.user_code.to_string(), by(1)), Ok(None));
    assert_eq!(logins.answer(&begun.user_code, ALLOW), None);
    assert_eq!(poll(&logins, begun.device_code.expose()), Verdict::Expired);
    assert_eq!(poll(&logins, late.device_code.expose()), Verdict::Expired, "an answer keeps no longer");
    let forgotten = logins.begin(asked(Ipv4Addr::LOCALHOST)).unwrap();
    advance(&clock, 2 * DeviceLogins::LIFETIME);
    assert_eq!(poll(&logins, forgotten.device_code.expose()), Verdict::Unknown);
    assert!(logins.waiting().codes.is_empty());
}

#[test]
fn device_logins_of_nobody_do_not_fill_the_memory() {
    let (logins, clock) = logins();
    for _ in 0..DeviceLogins::MOST_PER_CLIENT {
        logins.begin(asked(Ipv4Addr::LOCALHOST)).unwrap();
    }
    for same in [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv4Addr::LOCALHOST.to_ipv6_mapped().into()] {
        assert_eq!(logins.begin(asked(same)).unwrap_err(), DeviceError::Busy);
    }
    // What was answered takes no place, though its program has not heard of it yet.
    let answered = logins.begin(asked(Ipv4Addr::new(192, 0, 2, 9))).unwrap();
    for _ in 0..DeviceLogins::MOST_PER_CLIENT {
        let begun = logins.begin(asked(Ipv4Addr::new(192, 0, 2, 9))).unwrap();
        logins.answer(&begun.user_code, Answer::Deny).unwrap();
    }
    logins.answer(&answered.user_code, ALLOW).unwrap();
    let network = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, last);
    for last in 0..20 {
        logins.begin(asked(network(last))).unwrap();
    }
    assert_eq!(logins.begin(asked(network(99))).unwrap_err(), DeviceError::Busy, "one network is one client");
    for client in 0..DeviceLogins::MOST - 40 - 21 {
        let client = u32::try_from(client).unwrap();
        logins.begin(asked(Ipv4Addr::from(0x0a00_0000 + client))).unwrap();
    }
    assert_eq!(logins.begin(asked(Ipv4Addr::new(192, 0, 2, 1))).unwrap_err(), DeviceError::Busy);
    advance(&clock, 2 * DeviceLogins::LIFETIME);
    logins.begin(asked(Ipv4Addr::LOCALHOST)).unwrap();
}

#[test]
fn user_codes_cannot_be_guessed() {
    let (logins, clock) = logins();
    let begun = logins.begin(asked(Ipv4Addr::LOCALHOST)).unwrap();
    let right = begun.user_code.to_string();
    for _ in 0..10 {
        assert_eq!(logins.look("BBBB-BBBB", by(1)), Ok(None));
    }
    assert_eq!(logins.look(&right, by(1)), Err(DeviceError::Guessing), "not even the right one");
    assert!(logins.look(&right, by(2)).unwrap().is_some(), "others go on");
    // Many sessions at one address.
    for session in 2..12 {
        let by = Guesser { session: [session; 32], ..by(2) };
        for _ in 0..10 {
            assert_eq!(logins.look("", by), Ok(None));
        }
    }
    assert_eq!(logins.look(&right, by(2)), Err(DeviceError::Guessing));
    advance(&clock, 600);
    let begun = logins.begin(asked(Ipv4Addr::LOCALHOST)).unwrap();
    assert!(logins.look(&begun.user_code.to_string(), by(1)).unwrap().is_some());
}

#[test]
fn a_label_is_plain_text() {
    assert_eq!(
        ClientLabel::parse(" my-tool 1.0 (bob@laptop) ").unwrap().as_str(),
        "my-tool 1.0 (bob@laptop)"
    );
    for bad in ["", " ", "a\nb", "<b>", "a:b", "a\u{202e}b", &"x".repeat(65), "a\0"] {
        assert_eq!(ClientLabel::parse(bad), None, "{bad:?}");
    }
}
