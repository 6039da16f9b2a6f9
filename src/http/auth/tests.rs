//! Tests of the whole, with real files in temporary folders and a second [`Auth`] in the part of another process.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

const OWNER: &str = "correct horse battery";
const TALKER: &str = "talks and talks";
const VIEWER: &str = "only looks on";
const DAY: Duration = Duration::from_secs(86_400);

/// A state folder that does not exist yet, and what keeps its parent.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let state = parent.path().join("state/duplex");
    (parent, state)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Makes the folder with fixed permission bits, whatever the umask is.
fn make(state: &Path) {
    fs::create_dir_all(state).unwrap();
    fs::set_permissions(state, fs::Permissions::from_mode(0o700)).unwrap();
}

fn put(state: &Path, file: &str, text: &str, mode: u32) {
    make(state);
    fs::write(state.join(file), text).unwrap();
    fs::set_permissions(state.join(file), fs::Permissions::from_mode(mode)).unwrap();
}

fn refused(state: &Path) -> String {
    Auth::open(state).err().expect("opened").to_string()
}

#[test]
fn passwords_tell_the_role_and_survive_a_restart() {
    let (_keep, state) = folder();
    let auth = Auth::open(&state).unwrap();
    assert!(!auth.has_owner());
    assert!(matches!(auth.sign_in(OWNER), Err(Refused::WrongPassword)));
    auth.set_password(Role::Owner, OWNER).unwrap();
    auth.set_password(Role::Talker, TALKER).unwrap();
    auth.set_password(Role::Viewer, VIEWER).unwrap();

    let auth = Auth::open(&state).unwrap();
    assert!(auth.has_owner());
    let now = SystemTime::now();
    let mut cookies = Vec::new();
    for (password, role) in [(OWNER, Role::Owner), (TALKER, Role::Talker), (VIEWER, Role::Viewer)] {
        let (signed_in_as, cookie) = auth.sign_in(password).unwrap();
        assert_eq!(signed_in_as, role);
        assert_eq!(cookie.as_str().len(), 43);
        assert_eq!(auth.session(cookie.as_str(), now).unwrap().role, role);
        cookies.push((cookie, role));
    }
    for wrong in ["", "correct horse batterY", &"a".repeat(201), &format!("{OWNER} ")] {
        assert!(matches!(auth.sign_in(wrong), Err(Refused::WrongPassword)), "{wrong}");
    }
    assert_eq!(auth.session("", now), None);
    assert_eq!(auth.session(&cookies[0].0.as_str()[1..], now), None);

    let auth = Auth::open(&state).unwrap();
    for (cookie, role) in &cookies {
        let session = auth.session(cookie.as_str(), now).unwrap();
        assert_eq!(session.role, *role);
        assert_eq!(auth.session_by_id(&session.id, now), Some(session.clone()));
        assert_eq!(auth.session(&session.id, now), None, "an id must not open anything");
    }
}

#[test]
fn files_are_closed_to_others_and_hold_nothing_readable() {
    let (_keep, state) = folder();
    let auth = Auth::open(&state).unwrap();
    auth.set_password(Role::Owner, OWNER).unwrap();
    let (_, cookie) = auth.sign_in(OWNER).unwrap();
    let token = auth.token_new("robot", &[Scope::Watch], None).unwrap();
    assert_eq!(mode(&state), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let text = fs::read_to_string(&path).unwrap();
        for secret in [OWNER, cookie.as_str(), &token, &token[4..]] {
            assert!(!text.contains(secret), "{}", path.display());
        }
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["auth.toml", "sessions.toml", "tokens.toml"]);
    assert!(!format!("{cookie:?}").contains(cookie.as_str()));
    let text = fs::read_to_string(state.join("auth.toml")).unwrap();
    assert!(text.contains("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
}

#[test]
fn files_open_to_others_are_refused() {
    for file in ["auth.toml", "tokens.toml", "sessions.toml"] {
        for bits in [0o644, 0o640, 0o602] {
            let (_keep, state) = folder();
            put(&state, file, "version = 1\n", bits);
            let text = refused(&state);
            assert!(
                text.contains(file) && text.contains(&format!("mode {bits:04o}")) && text.contains("chmod 600"),
                "{text}"
            );
        }
    }
    let (_keep, state) = folder();
    make(&state);
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    let text = refused(&state);
    assert!(text.contains("0777") && text.contains("chmod go-w"), "{text}");
    // A folder that others can read is systemd's default, and the files in it are closed.
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    Auth::open(&state).unwrap();
}

#[test]
fn damaged_files_are_refused_without_quoting_them() {
    let digest = secret::digest("x");
    for (file, text, complaint) in [
        ("auth.toml", String::new(), "version"),
        ("auth.toml", "version = 2".into(), "version is 2, this program knows 1"),
        ("auth.toml", "version = 1\nowner = \"hunter2hunter2".into(), "line 2"),
        (
            "auth.toml",
            "version = 1\nowner = \"hunter2hunter2\"".into(),
            "the password of the owner is no Argon2id hash",
        ),
        ("auth.toml", "version = 1\nroot = \"hunter2hunter2\"".into(), "line 2: unknown field)"),
        (
            "auth.toml",
            format!("version = 1\nviewer = \"{}\"", passwords::hash(VIEWER).unwrap()),
            "owner's password is missing",
        ),
        (
            "sessions.toml",
            "version = 1\n[[session]]\nsha256 = \"x\"\nrole = \"owner\"\npassword = \"\"\nexpires = 1".into(),
            "a session has no SHA-256",
        ),
        (
            "sessions.toml",
            format!("version = 1\n[[session]]\nsha256 = \"{digest}\"\nrole = \"king\"\npassword = \"\"\nexpires = 1"),
            "line 4: unknown variant)",
        ),
        (
            "tokens.toml",
            "version = 1\n[[token]]\nname = \"a\"\nsha256 = \"x\"\nscopes = []\ncreated = 1".into(),
            "a token has no SHA-256",
        ),
        (
            "tokens.toml",
            format!(
                "version = 1\n[[token]]\nname = \"a\"\nsha256 = \"{digest}\"\nscopes = []\ncreated = 9223372036854775807"
            ),
            "out of range",
        ),
        ("auth.toml", "version = \"hunter2hunter2\"".into(), "line 1: invalid type)"),
        ("tokens.toml", "\0".repeat(30), "line 1"),
        ("tokens.toml", "#".repeat(2 << 20), "larger than"),
    ] {
        let (_keep, state) = folder();
        put(&state, file, &text, 0o600);
        let error = refused(&state);
        assert!(error.contains(file) && error.contains("is damaged") && error.contains(complaint), "{file}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(
            fs::read_to_string(state.join(file)).unwrap(),
            text,
            "a damaged file must stay for its owner to look at"
        );
    }
}

#[test]
fn rules_for_passwords() {
    let (_keep, state) = folder();
    let auth = Auth::open(&state).unwrap();
    for bad in ["", "123456789", &"ü".repeat(9), &"a".repeat(201), &" ".repeat(12)] {
        assert!(matches!(auth.set_password(Role::Owner, bad), Err(Error::WeakPassword(_))), "{bad}");
    }
    assert!(matches!(auth.set_password(Role::Viewer, VIEWER), Err(Error::OwnerFirst)));
    assert!(!state.join("auth.toml").exists());
    auth.set_password(Role::Owner, &"ü".repeat(200)).unwrap();
    auth.sign_in(&"ü".repeat(200)).unwrap();
    assert!(matches!(auth.set_password(Role::Viewer, &"ü".repeat(200)), Err(Error::SamePassword)));
    // One's own old password may be set again.
    auth.set_password(Role::Owner, &"ü".repeat(200)).unwrap();
    assert!(matches!(auth.remove_password(Role::Viewer), Err(Error::NoPassword(Role::Viewer))));
    auth.set_password(Role::Viewer, VIEWER).unwrap();
    assert!(matches!(auth.remove_password(Role::Owner), Err(Error::OwnerLast)));
    auth.remove_password(Role::Viewer).unwrap();
    assert!(matches!(auth.sign_in(VIEWER), Err(Refused::WrongPassword)));
    auth.remove_password(Role::Owner).unwrap();
    assert!(!auth.has_owner());
}

#[test]
fn another_process_changes_passwords_and_sessions_end() {
    let (_keep, state) = folder();
    let service = Auth::open(&state).unwrap();
    let command = Auth::open(&state).unwrap();
    let now = SystemTime::now();
    command.set_password(Role::Owner, OWNER).unwrap();
    assert!(service.has_owner());
    command.set_password(Role::Talker, TALKER).unwrap();
    let (_, owner) = service.sign_in(OWNER).unwrap();
    let (_, talker) = service.sign_in(TALKER).unwrap();
    // Same length, perhaps within the clock's resolution: noticed all the same.
    command.set_password(Role::Talker, "talks no moreee").unwrap();
    assert_eq!(service.session(talker.as_str(), now), None);
    assert!(matches!(service.sign_in(TALKER), Err(Refused::WrongPassword)));
    assert_eq!(service.session(owner.as_str(), now).unwrap().role, Role::Owner);
    let (_, talker) = service.sign_in("talks no moreee").unwrap();
    command.remove_password(Role::Talker).unwrap();
    assert_eq!(service.session(talker.as_str(), now), None);
    // The same password set anew is a new password.
    command.set_password(Role::Owner, OWNER).unwrap();
    assert_eq!(service.session(owner.as_str(), now), None);
}

#[test]
fn what_the_owner_showed_goes_for_the_password_he_had_then() {
    let (_keep, state) = folder();
    let service = Auth::open(&state).unwrap();
    let command = Auth::open(&state).unwrap();
    let nothing = service.confirm_owner(None).unwrap();
    command.set_password(Role::Owner, OWNER).unwrap();
    let late = |result: Result<OwnerShown, Refused>| result.err().expect("taken");
    assert!(matches!(
        late(service.set_password_by_owner(&nothing, Role::Owner, "another password")),
        Refused::AlreadySetUp
    ));
    assert!(matches!(service.remove_password_by_owner(&nothing, Role::Owner), Err(Refused::AlreadySetUp)));
    let shown = service.confirm_owner(Some(OWNER)).unwrap();
    // The same password set anew is a new password.
    command.set_password(Role::Owner, OWNER).unwrap();
    command.set_password(Role::Viewer, VIEWER).unwrap();
    for role in [Role::Owner, Role::Talker] {
        assert!(matches!(
            late(service.set_password_by_owner(&shown, role, "another password")),
            Refused::WrongPassword
        ));
    }
    assert!(matches!(service.remove_password_by_owner(&shown, Role::Viewer), Err(Refused::WrongPassword)));
    assert_eq!(service.roles_with_password(), [Role::Owner, Role::Viewer]);
    let shown = service.confirm_owner(Some(OWNER)).unwrap();
    let now = service.set_password_by_owner(&shown, Role::Owner, "another password").unwrap();
    let cookie = service.owner_session(&now).unwrap();
    assert!(service.session(cookie.as_str(), SystemTime::now()).is_some());
    // One that comes after the next change is worth nothing.
    command.set_password(Role::Owner, OWNER).unwrap();
    let cookie = service.owner_session(&now).unwrap();
    assert!(service.session(cookie.as_str(), SystemTime::now()).is_none());
}

#[test]
fn a_file_spoiled_while_running_changes_nothing() {
    let (_keep, state) = folder();
    let auth = Auth::open(&state).unwrap();
    auth.set_password(Role::Owner, OWNER).unwrap();
    let (_, cookie) = auth.sign_in(OWNER).unwrap();
    let good = fs::read_to_string(state.join("auth.toml")).unwrap();
    for (text, bits) in [("", 0o600), ("version = 1\n", 0o644)] {
        put(&state, "auth.toml", text, bits);
        assert!(auth.has_owner());
        assert!(auth.session(cookie.as_str(), SystemTime::now()).is_some());
        // Nothing is written over it either.
        assert!(auth.set_password(Role::Owner, "another password").is_err());
        assert_eq!(fs::read_to_string(state.join("auth.toml")).unwrap(), text);
    }
    put(&state, "auth.toml", &good, 0o600);
    auth.set_password(Role::Owner, "another password").unwrap();
    assert!(auth.session(cookie.as_str(), SystemTime::now()).is_none());
}

#[test]
fn sessions_live_thirty_days_from_their_last_use() {
    let (_keep, state) = folder();
    let auth = Auth::open(&state).unwrap();
    auth.set_password(Role::Owner, OWNER).unwrap();
    let (_, cookie) = auth.sign_in(OWNER).unwrap();
    let start = SystemTime::now();
    let file = || fs::read_to_string(state.join("sessions.toml")).unwrap();

    let fresh = file();
    assert!(auth.session(cookie.as_str(), start + DAY / 2).is_some());
    assert_eq!(file(), fresh, "written more often than once a day");
    assert!(auth.session(cookie.as_str(), start + DAY * 29).is_some());
    assert_ne!(file(), fresh);
    assert!(auth.session(cookie.as_str(), start + DAY * 58).is_some());
    let id = auth.session(cookie.as_str(), start + DAY * 58).unwrap().id;
    assert!(auth.session_by_id(&id, start + DAY * 87).is_some());
    assert!(auth.session_by_id(&id, start + DAY * 88 + DAY / 2).is_none());
    assert!(auth.session(cookie.as_str(), start + DAY * 88 + DAY / 2).is_none());
    // A clock that was wrong at sign-in does not make a session that lives for years.
    assert!(auth.session(cookie.as_str(), start).is_some());
    assert!(auth.session(cookie.as_str(), start + DAY * 31).is_none());
}

#[test]
fn at_most_two_hundred_sessions_and_the_oldest_goes() {
    let (_keep, state) = folder();
    let auth = Auth::open(&state).unwrap();
    auth.set_password(Role::Owner, OWNER).unwrap();
    let now = SystemTime::now();
    let new = || auth.new_session(Role::Owner, &auth.passwords.get()).unwrap();
    let cookies: Vec<_> = (0..200).map(|_| new()).collect();
    assert!(auth.session(cookies[0].as_str(), now).is_some());
    let last = new();
    assert!(auth.session(cookies[0].as_str(), now).is_none());
    for cookie in cookies[1..].iter().chain([&last]) {
        assert!(auth.session(cookie.as_str(), now).is_some());
    }
    auth.sign_out(last.as_str()).unwrap();
    auth.sign_out(last.as_str()).unwrap();
    assert!(auth.session(last.as_str(), now).is_none());
    assert!(Auth::open(&state).unwrap().session(last.as_str(), now).is_none());
    assert!(auth.session(cookies[1].as_str(), now).is_some());
}

#[test]
fn tokens_do_what_they_may_until_they_end() {
    let (_keep, state) = folder();
    let service = Auth::open(&state).unwrap();
    let command = Auth::open(&state).unwrap();
    let now = SystemTime::now();
    let scopes = [Scope::ConsumePeer, Scope::Watch, Scope::Watch];
    let robot = command.token_new("robot-1", &scopes, Some(DAY)).unwrap();
    let camera = command.token_new("camera", &[Scope::Produce], None).unwrap();
    assert!(robot.starts_with("dpx_") && robot.len() == 47, "{robot}");

    let token = service.token(&robot, now).unwrap();
    assert_eq!((token.name.as_str(), token.scopes.as_slice()), ("robot-1", &[Scope::Watch, Scope::ConsumePeer][..]));
    assert_eq!(service.token_by_id(&token.id, now), Some(token.clone()));
    assert_eq!(service.token(&token.id, now), None);
    assert_eq!(service.token(&robot[4..], now), None);
    assert_eq!(service.token(&format!("{robot}x"), now), None);
    assert_eq!(service.token(&robot, now + DAY + DAY), None);
    assert!(service.token(&camera, now + DAY * 10_000).is_some());

    let list = service.token_list();
    assert_eq!(list.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["camera", "robot-1"]);
    assert_eq!(list[0].expires, None);
    assert_eq!(list[1].expires, Some(list[1].created + DAY));

    command.token_revoke("robot-1").unwrap();
    assert_eq!(service.token(&robot, now), None);
    assert!(matches!(command.token_revoke("robot-1"), Err(Error::NoToken(_))));
    for bad in ["", "a b", "a/b", "ä", &"a".repeat(65)] {
        assert!(matches!(command.token_new(bad, &scopes, None), Err(Error::TokenName(_))), "{bad}");
    }
    assert!(matches!(command.token_new("camera", &scopes, None), Err(Error::TokenExists(_))));
    assert!(matches!(command.token_new("none", &[], None), Err(Error::NoScope)));
    // A time beyond all clocks must not make the file unreadable.
    command.token_new("forever", &scopes, Some(Duration::MAX)).unwrap();
    Auth::open(&state).unwrap();
    // The session of a person is no token, and the other way round.
    assert_eq!(service.session(&camera, now), None);
}

#[test]
fn changes_from_several_sides_at_once_all_count() {
    let (_keep, state) = folder();
    Auth::open(&state).unwrap();
    std::thread::scope(|scope| {
        for side in 0..4 {
            let auth = Auth::open(&state).unwrap();
            scope.spawn(move || {
                for number in 0..15 {
                    auth.token_new(&format!("{side}-{number}"), &[Scope::Talk], None).unwrap();
                    assert!(auth.token_list().len() > number);
                }
            });
        }
    });
    assert_eq!(Auth::open(&state).unwrap().token_list().len(), 60);
    let rest: Vec<_> = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!rest.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{rest:?}");
}

#[test]
fn the_setup_code_works_once() {
    let (_keep, state) = folder();
    let auth = Auth::open(&state).unwrap();
    let code = auth.setup_code().unwrap();
    assert_eq!((code.len(), code.find('-')), (9, Some(4)), "{code}");
    assert_ne!(Auth::open(&state).unwrap().setup_code().unwrap(), code, "each start makes a new one");
    assert!(matches!(auth.setup("AAAA-AAAA", OWNER), Err(Refused::WrongCode)));
    assert!(matches!(auth.setup("", OWNER), Err(Refused::WrongCode)));
    assert!(matches!(auth.setup(&format!("{code}A"), OWNER), Err(Refused::WrongCode)));
    assert!(matches!(auth.setup(&code, "short"), Err(Refused::WeakPassword(_))));
    let cookie = auth.setup(&format!(" {} ", code.to_lowercase().replace('-', " ")), OWNER).unwrap();
    assert_eq!(auth.session(cookie.as_str(), SystemTime::now()).unwrap().role, Role::Owner);
    assert_eq!(auth.sign_in(OWNER).unwrap().0, Role::Owner);
    assert_eq!(auth.setup_code(), None);
    assert!(matches!(auth.setup(&code, "another password"), Err(Refused::AlreadySetUp)));
    assert_eq!(Auth::open(&state).unwrap().setup_code(), None);
    // Not even after the password was removed is the used code good for anything.
    auth.remove_password(Role::Owner).unwrap();
    assert_eq!(auth.setup_code(), None);
    assert!(matches!(auth.setup(&code, OWNER), Err(Refused::WrongCode)));
    assert!(Auth::open(&state).unwrap().setup_code().is_some());
}

#[test]
fn the_setup_code_outlives_a_restart_until_it_was_used() {
    let (_keep, state) = folder();
    let code = |auth: &Auth| {
        auth.keep_setup_code().unwrap();
        auth.setup_code()
    };
    let first = code(&Auth::open(&state).unwrap()).unwrap();
    assert_eq!(mode(&state.join("setup.toml")), 0o600);
    // Another command of the program looks in, and makes nothing of its own.
    drop(Auth::open(&state).unwrap());
    let auth = Auth::open(&state).unwrap();
    assert_eq!(code(&auth).as_deref(), Some(first.as_str()));
    auth.setup(&first, OWNER).unwrap();
    assert!(!fs::read_to_string(state.join("setup.toml")).unwrap().contains(&first));
    assert_eq!(code(&Auth::open(&state).unwrap()), None);
    auth.remove_password(Role::Owner).unwrap();
    let second = code(&Auth::open(&state).unwrap()).unwrap();
    assert_ne!(first, second, "who once read a code has no use of it later");
    // Set by a command: the code is of no use either.
    Auth::open(&state).unwrap().set_password(Role::Owner, OWNER).unwrap();
    assert!(!fs::read_to_string(state.join("setup.toml")).unwrap().contains(&second));
}

#[test]
fn twenty_wrong_setup_codes_end_it_until_a_restart() {
    let (_keep, state) = folder();
    let auth = Auth::open(&state).unwrap();
    let code = auth.setup_code().unwrap();
    for _ in 0..20 {
        assert!(matches!(auth.setup("AAAA-AAAA", OWNER), Err(Refused::WrongCode)));
    }
    assert!(matches!(auth.setup(&code, OWNER), Err(Refused::TooManyTries)));
    assert!(!auth.has_owner());
    let auth = Auth::open(&state).unwrap();
    auth.setup(&auth.setup_code().unwrap(), OWNER).unwrap();
}

#[test]
fn of_two_with_the_code_one_becomes_owner() {
    let (_keep, state) = folder();
    let auth = Auth::open(&state).unwrap();
    let code = auth.setup_code().unwrap();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn({
                    let (auth, code) = (&auth, &code);
                    move || auth.setup(code, &format!("{OWNER} {n}"))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(results.iter().filter(|result| matches!(result, Err(Refused::AlreadySetUp))).count(), 3);

    // The command on the device can be faster, too.
    let (_keep, state) = folder();
    let auth = Auth::open(&state).unwrap();
    let code = auth.setup_code().unwrap();
    Auth::open(&state).unwrap().set_password(Role::Owner, OWNER).unwrap();
    assert_eq!(auth.setup_code(), None);
    assert!(matches!(auth.setup(&code, "another password"), Err(Refused::AlreadySetUp)));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let (keep, _) = folder();
    fs::write(keep.path().join("file"), "").unwrap();
    let text = refused(&keep.path().join("file/state"));
    assert!(text.contains("cannot create the folder") && text.contains("file/state"), "{text}");
}

#[test]
fn root_leaves_the_files_to_the_owner_of_the_folder() {
    use std::os::unix::fs::{MetadataExt, chown};
    let (_keep, state) = folder();
    make(&state);
    // Only root can give a folder away; for anybody else there is nothing to show here.
    if chown(&state, Some(12_345), Some(12_346)).is_err() {
        eprintln!("skipped: not root");
        return;
    }
    let auth = Auth::open(&state).unwrap();
    auth.set_password(Role::Owner, OWNER).unwrap();
    for entry in fs::read_dir(&state).unwrap() {
        let metadata = entry.unwrap().metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (12_345, 12_346));
    }
}
