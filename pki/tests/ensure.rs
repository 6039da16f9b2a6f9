//! What the service relies on: `ensure_server` at any time gives a fitting certificate, and acts only when it must.

mod common;
use common::{DAY, Fixture, chmod, names, then};
use duplex_pki::{Action, Ensured, Error, InitOptions, Reason};
use std::fs;
use std::time::{Duration, SystemTime};

fn ensure(fixture: &Fixture, list: &[&str], now: SystemTime) -> Ensured {
    fixture.store.ensure_server(&names(list), now).expect("ensure")
}

#[test]
fn the_first_start_makes_everything_and_the_second_nothing() {
    let fixture = Fixture::empty();
    let first = ensure(&fixture, &["localhost", "olivia.local", "olivia", "127.0.0.1"], then());
    assert!(matches!(first.action, Action::CaMade(Reason::NoCa)) && first.changed());
    let sentence = first.to_string();
    assert!(sentence.contains("\"Duplex CA olivia") && sentence.contains(&first.ca.fingerprint_sha256()), "{sentence}");
    let second = ensure(&fixture, &["OLIVIA.local.", "olivia", "127.0.0.1", "localhost", "localhost"], then() + DAY);
    assert!(matches!(second.action, Action::Kept) && !second.changed());
    assert_eq!(first.identity.chain, second.identity.chain);
    assert!(
        second.to_string().contains("kept the certificate for localhost, olivia, olivia.local and 127.0.0.1"),
        "{second}"
    );
}

#[test]
fn nothing_is_written_when_nothing_has_to_change() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    fs::remove_file(fixture.file(".lock")).expect("remove");
    assert!(!ensure(&fixture, &["a.lan"], then()).changed());
    assert!(!fixture.file(".lock").exists());
}

#[test]
fn names_that_come_or_go_make_a_new_certificate() {
    let fixture = Fixture::with_server(&["a.lan", "10.0.0.1"], then());
    let more = ensure(&fixture, &["a.lan", "10.0.0.1", "10.0.0.2"], then());
    assert!(more.to_string().ends_with("because it lacked 10.0.0.2"), "{more}");
    let fewer = ensure(&fixture, &["a.lan", "10.0.0.2"], then());
    assert!(fewer.to_string().ends_with("because 10.0.0.1 went away"), "{fewer}");
    let other = ensure(&fixture, &["a.lan", "10.0.0.3"], then());
    assert!(other.to_string().ends_with("because 10.0.0.3 came and 10.0.0.2 went away"), "{other}");
    assert_eq!(other.identity.names, names(&["a.lan", "10.0.0.3"]));
    assert!(matches!(fixture.store.ensure_server(&[], then()), Err(Error::NoNamesGiven)));
}

#[test]
fn it_is_renewed_when_less_than_a_third_of_its_life_is_left() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    let identity = fixture.store.identity(then()).expect("identity");
    let third = identity.renew_after();
    assert!(third > then() + 264 * DAY && third < then() + 265 * DAY);
    assert!(!ensure(&fixture, &["a.lan"], third).changed());
    let renewed = ensure(&fixture, &["a.lan"], third + Duration::from_secs(1));
    assert!(matches!(renewed.action, Action::Issued(Reason::Ageing { .. })), "{renewed}");
    assert!(renewed.identity.not_after > identity.not_after);
}

#[test]
fn one_that_cannot_be_used_is_replaced() {
    let check = |spoil: &dyn Fn(&Fixture), now: SystemTime, expected: &str| {
        let fixture = Fixture::with_server(&["a.lan"], then());
        spoil(&fixture);
        let ensured = ensure(&fixture, &["a.lan"], now);
        assert!(
            matches!(ensured.action, Action::Issued(_)) && ensured.to_string().contains(expected),
            "{expected}: {ensured}"
        );
        assert!(!ensure(&fixture, &["a.lan"], now).changed());
    };
    check(&|_| (), then() + 500 * DAY, "expired on");
    check(&|fixture| fs::remove_file(fixture.file("server")).expect("remove"), then(), "there was none");
    check(&|fixture| fs::remove_file(fixture.file("server/server-key.pem")).expect("remove"), then(), "No such file");
    check(&|fixture| fs::write(fixture.file("server/server.pem"), "").expect("write"), then(), "is not PEM");
    check(&|fixture| chmod(fixture.file("server/server-key.pem"), 0o644), then(), "open to other users");
    let other = Fixture::with_server(&["a.lan"], then());
    let copy = |fixture: &Fixture, names: &[&str]| {
        for name in names {
            fs::copy(other.file(name), fixture.file(name)).expect("copy");
        }
    };
    check(&|fixture| copy(fixture, &["server/server.pem"]), then(), "does not belong");
    check(
        &|fixture| copy(fixture, &["server/server.pem", "server/server-key.pem"]),
        then(),
        "another certificate authority had signed it",
    );
}

#[test]
fn a_clock_that_was_ahead_for_a_while_does_no_lasting_harm() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    assert!(ensure(&fixture, &["a.lan"], then() + 1000 * DAY).changed());
    let back = ensure(&fixture, &["a.lan"], then());
    assert!(back.to_string().contains("not valid before"), "{back}");
}

#[test]
fn a_bad_authority_is_an_error_and_replaced_by_nothing() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    let ensure = |now| fixture.store.ensure_server(&names(&["a.lan"]), now).expect_err("refused");
    let expired = ensure(then() + 3700 * DAY);
    assert!(matches!(expired, Error::CaExpired { .. }), "{expired}");
    let early = ensure(then() - 2 * DAY);
    assert!(matches!(early, Error::NotYetValid { .. }), "{early}");
    fs::write(fixture.file("ca.pem"), "garbage").expect("write");
    let damaged = ensure(then());
    assert!(matches!(damaged, Error::NotPem { .. }), "{damaged}");
    assert_eq!(fs::read(fixture.file("ca.pem")).expect("read"), b"garbage");
}

#[test]
fn a_working_certificate_is_kept_when_a_better_one_cannot_be_made() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    fs::remove_file(fixture.file("ca-key.pem")).expect("remove");
    let kept = ensure(&fixture, &["a.lan", "b.lan"], then());
    assert!(matches!(kept.action, Action::KeptDespite { .. }) && !kept.changed());
    assert!(kept.to_string().contains("it lacked b.lan; issuing it failed:"), "{kept}");
    let error = fixture.store.ensure_server(&names(&["a.lan"]), then() + 500 * DAY).expect_err("expired meanwhile");
    assert!(matches!(error, Error::CaKeyMissing { .. }), "{error}");
}

#[test]
fn the_last_certificate_under_an_ending_root_is_not_issued_over_and_over() {
    let fixture = Fixture::empty();
    fixture.store.init(&InitOptions { days: 30, ..InitOptions::default() }, then()).expect("init");
    let first = ensure(&fixture, &["a.lan"], then());
    assert_eq!(first.identity.not_after, first.ca.not_after());
    assert!(!ensure(&fixture, &["a.lan"], then() + 28 * DAY).changed());
}

#[test]
fn processes_that_start_together_agree_on_one_authority() {
    let fixture = Fixture::empty();
    let chains: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| ensure(&fixture, &["a.lan"], then()).identity.chain)).collect();
        threads.into_iter().map(|thread| thread.join().expect("join")).collect()
    });
    assert!(chains.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn what_will_be_done_is_foreseen_and_nothing_is_written() {
    let list = names(&["a.lan"]);
    let empty = Fixture::empty();
    let (action, in_use) = empty.store.foresee(&list, then()).expect("foresee");
    assert!(matches!(action, Action::CaMade(Reason::NoCa)) && in_use.is_none() && !empty.store.dir().exists());

    let fixture = Fixture::with_server(&["a.lan"], then());
    let before = fs::read(fixture.file("server.pem")).expect("read");
    let foresee = |now| fixture.store.foresee(&list, now);
    let of = |now| foresee(now).expect("foresee");
    assert!(matches!(of(then()), (Action::Kept, Some(_))));
    assert!(matches!(of(then() + 390 * DAY), (Action::Issued(Reason::Ageing { .. }), Some(_))));
    assert!(matches!(of(then() + 500 * DAY), (Action::Issued(Reason::Unusable(Error::Expired { .. })), None)));
    assert!(matches!(foresee(then() + 3700 * DAY), Err(Error::CaExpired { .. })));
    fs::remove_file(fixture.file("ca-key.pem")).expect("remove");
    assert!(matches!(of(then() + 390 * DAY), (Action::KeptDespite { .. }, Some(_))));
    assert!(matches!(foresee(then() + 500 * DAY), Err(Error::CaKeyMissing { .. })));
    assert_eq!(fs::read(fixture.file("server.pem")).expect("read"), before);
    // And it agrees with what is done then.
    assert!(matches!(ensure(&fixture, &["a.lan"], then() + 390 * DAY).action, Action::KeptDespite { .. }));
}

#[test]
fn what_is_wrong_for_long_has_one_text() {
    let fixture = Fixture::with_server(&["a.lan"], then());
    let expired = |days| fixture.store.identity(then() + days * DAY).expect_err("expired");
    assert_ne!(expired(500).to_string(), expired(501).to_string());
    assert_eq!(expired(500).lasting(), expired(501).lasting());
    assert!(expired(500).lasting().ends_with(" UTC: renew it, or set the clock"), "{}", expired(500).lasting());
}
