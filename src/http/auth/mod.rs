//! Who is who: passwords, sessions, tokens, the setup code, and the limit on attempts.
//!
//! In: passwords, cookie values, bearer tokens, the setup code. Out: a [`Role`] or [`Scope`]s, or a refusal.
//! Never: speaks HTTP, keeps a password or token in readable form, writes a secret to the log.
//!
//! Three files in the state folder, each 0600, replaced in one step and flushed: `auth.toml` (passwords as Argon2id
//! hashes), `tokens.toml` and `sessions.toml` (SHA-256 of random secrets, which needs no slow hash). The commands
//! `duplex passwd` and `duplex token` may change the first two while the service runs; every use looks whether they did.

mod attempts;
mod error;
mod passwords;
mod secret;
mod sessions;
mod setup;
mod store;
#[cfg(test)]
mod tests;
mod tokens;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

pub use attempts::{Attempts, RetryAfter};
pub use error::{Error, Refused};
pub use secret::SessionToken;
pub use sessions::Session;
pub use tokens::{Scope, Token, TokenInfo};

use crate::api::Role;
use passwords::Passwords;
use sessions::Sessions;
use setup::{Kept, Setup};
use store::Store;
pub use store::give_to_owner_of;
use tokens::Tokens;

/// The keeper of all credentials of one device.
pub struct Auth {
    passwords: Store<Passwords>,
    sessions: Store<Sessions>,
    tokens: Store<Tokens>,
    setup: Mutex<Setup>,
    kept: Store<Kept>,
    /// Held while a password is hashed: each hash takes 19 MiB, and a flood must not get them all at once.
    hashing: Mutex<()>,
}

/// That somebody has shown the owner's password, or that there was none to show. It goes for what was known then.
pub struct OwnerShown(Arc<Passwords>);

impl OwnerShown {
    /// Refuses where the owner's password is another one by now.
    fn still_holds(&self, now: &Passwords) -> Result<(), Refused> {
        match (self.0.of(Role::Owner), now.of(Role::Owner)) {
            (shown, known) if shown == known => Ok(()),
            (None, Some(_)) => Err(Refused::AlreadySetUp),
            _ => Err(Refused::WrongPassword),
        }
    }
}

impl Auth {
    /// Opens the files in `state_dir`, which is made (0700) when missing. Without an owner's password it also makes a
    /// new setup code, which lives in memory until [`Self::keep_setup_code`].
    ///
    /// # Errors
    /// If a file is open to others, damaged or cannot be read, or if others could replace files in the folder.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        store::prepare(state_dir)?;
        let passwords = Store::<Passwords>::open(state_dir)?;
        let setup = if passwords.get().of(Role::Owner).is_none() { Setup::new()? } else { Setup::none() };
        Ok(Self {
            passwords,
            sessions: Store::open(state_dir)?,
            tokens: Store::open(state_dir)?,
            setup: Mutex::new(setup),
            kept: Store::open(state_dir)?,
            hashing: Mutex::new(()),
        })
    }

    /// Takes the setup code of an earlier start, or writes this one down for the next: for the service. A person may read it from
    /// a card, and putting the card back is another start.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn keep_setup_code(&self) -> Result<(), Error> {
        if self.has_owner() {
            return self.forget_setup_code();
        }
        let mut setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        self.kept.change(|kept| {
            match kept.code.as_deref().and_then(Setup::known) {
                Some(known) => *setup = known,
                None => kept.code = setup.code(),
            }
            Ok(())
        })
    }

    fn forget_setup_code(&self) -> Result<(), Error> {
        if self.kept.get().code.is_none() {
            return Ok(());
        }
        self.kept.change(|kept| {
            kept.code = None;
            Ok(())
        })
    }

    /// Whether an owner's password is set.
    pub fn has_owner(&self) -> bool {
        self.passwords.get().of(Role::Owner).is_some()
    }

    /// The roles that have a password, the owner first.
    pub fn roles_with_password(&self) -> Vec<Role> {
        let passwords = self.passwords.get();
        passwords::ROLES.into_iter().filter(|role| passwords.of(*role).is_some()).collect()
    }

    /// Whether this is the owner's present password; where there is none yet, nothing need be shown. Blocks while hashing:
    /// limit attempts before, as with [`Self::sign_in`].
    ///
    /// # Errors
    /// [`Refused::WrongPassword`], also for none where there is one.
    pub fn confirm_owner(&self, password: Option<&str>) -> Result<OwnerShown, Refused> {
        let known = self.passwords.get();
        if known.of(Role::Owner).is_none() {
            return Ok(OwnerShown(known));
        }
        let password = password.filter(|password| password.chars().count() <= passwords::LONGEST);
        let _one_at_a_time = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_right = password.is_some_and(|password| known.verify(Role::Owner, password));
        if is_right { Ok(OwnerShown(known)) } else { Err(Refused::WrongPassword) }
    }

    /// A new session for the owner, who has just set his password.
    ///
    /// # Errors
    /// If it cannot be stored.
    pub fn owner_session(&self, shown: &OwnerShown) -> Result<SessionToken, Error> {
        self.new_session(Role::Owner, &shown.0)
    }

    /// The owner's session with this [`id`](Session::id) goes on after he has changed his password, with another cookie: what was opened with the one
    /// before stays open, and nothing more is opened with it. `None`: there is no such session.
    ///
    /// # Errors
    /// No random numbers, or if the file cannot be written.
    pub fn owner_goes_on(&self, shown: &OwnerShown, id: &str) -> Result<Option<SessionToken>, Error> {
        let (secret, mut goes_on) = (secret::random()?, false);
        self.sessions.change(|sessions| {
            goes_on = sessions.go_on(id, &secret::digest(&secret), Role::Owner, &shown.0);
            Ok::<(), Error>(())
        })?;
        Ok(goes_on.then(|| SessionToken::new(secret)))
    }

    /// Whether a new password keeps the rule of 10 to 200 characters. Does not block.
    ///
    /// # Errors
    /// [`Refused::WeakPassword`]
    pub fn check_new_password(password: &str) -> Result<(), Refused> {
        passwords::check_rule(password).map_err(Refused::WeakPassword)
    }

    /// [`Self::set_password`] by the owner from afar, and what he is known by then.
    ///
    /// # Errors
    /// As there; and [`Refused::AlreadySetUp`] or [`Refused::WrongPassword`] if the owner's password has been set or changed since
    /// he showed his.
    pub fn set_password_by_owner(&self, shown: &OwnerShown, role: Role, password: &str) -> Result<OwnerShown, Refused> {
        let now = self.put_password(role, password, |passwords| shown.still_holds(passwords))?;
        if let Err(error) = self.forget_setup_code_after(role) {
            // The password is set, and the next start forgets the code.
            tracing::warn!(%error, "the setup code was not forgotten");
        }
        Ok(OwnerShown(Arc::new(now)))
    }

    /// [`Self::remove_password`] by the owner from afar.
    ///
    /// # Errors
    /// As there and with [`Self::set_password_by_owner`].
    pub fn remove_password_by_owner(&self, shown: &OwnerShown, role: Role) -> Result<(), Refused> {
        self.take_password(role, |passwords| shown.still_holds(passwords))
    }

    /// Sets or changes the password of a role; whoever is signed in with that role is signed out.
    ///
    /// Blocks for as long as some hashes take (Argon2id, version 19, 19 MiB, 2 passes, 1 lane: the defaults of argon2
    /// 0.5 and the least that OWASP recommends), about 50 ms each on a laptop and 200 ms on a board.
    ///
    /// # Errors
    /// If the password has fewer than 10 or more than 200 characters, if another role has the same one, or if the owner has
    /// none yet and `role` is not the owner; or if the file cannot be written.
    pub fn set_password(&self, role: Role, password: &str) -> Result<(), Error> {
        self.put_password(role, password, |_| Ok::<(), Error>(()))?;
        self.forget_setup_code_after(role)
    }

    /// The passwords as they are then; `may` has a look at them before.
    fn put_password<E: From<Error>>(
        &self,
        role: Role,
        password: &str,
        may: impl FnOnce(&Passwords) -> Result<(), E>,
    ) -> Result<Passwords, E> {
        passwords::check_rule(password).map_err(Error::WeakPassword)?;
        let _one_at_a_time = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = passwords::hash(password)?;
        let mut now = Passwords::default();
        self.passwords.change(|passwords| -> Result<(), E> {
            may(passwords)?;
            if role != Role::Owner && passwords.of(Role::Owner).is_none() {
                return Err(Error::OwnerFirst.into());
            }
            // Sign-in asks for a password alone, so it must tell which role is meant.
            if passwords::ROLES.iter().any(|other| *other != role && passwords.verify(*other, password)) {
                return Err(Error::SamePassword.into());
            }
            passwords.set(role, Some(hash));
            now = passwords.clone();
            Ok(())
        })?;
        Ok(now)
    }

    fn forget_setup_code_after(&self, role: Role) -> Result<(), Error> {
        if role == Role::Owner { self.forget_setup_code() } else { Ok(()) }
    }

    /// Removes the password of a role; nobody can sign in with it any more, and who is signed in with it is signed out.
    ///
    /// # Errors
    /// If the role has no password, if it is the owner's while another role has one, or if the file cannot be written.
    pub fn remove_password(&self, role: Role) -> Result<(), Error> {
        self.take_password(role, |_| Ok(()))
    }

    fn take_password<E: From<Error>>(
        &self,
        role: Role,
        may: impl FnOnce(&Passwords) -> Result<(), E>,
    ) -> Result<(), E> {
        self.passwords.change(|passwords| {
            may(passwords)?;
            if passwords.of(role).is_none() {
                return Err(Error::NoPassword(role).into());
            }
            if role == Role::Owner && (passwords.of(Role::Talker).is_some() || passwords.of(Role::Viewer).is_some()) {
                return Err(Error::OwnerLast.into());
            }
            passwords.set(role, None);
            Ok(())
        })
    }

    /// The role whose password this is, and a new session for it. Tries the owner first.
    ///
    /// Blocks while hashing, one caller after the other: call it where blocking is allowed, and limit attempts before
    /// ([`Attempts`]).
    ///
    /// # Errors
    /// [`Refused::WrongPassword`], or [`Refused::Failed`] if the session cannot be stored.
    pub fn sign_in(&self, password: &str) -> Result<(Role, SessionToken), Refused> {
        if password.chars().count() > passwords::LONGEST {
            return Err(Refused::WrongPassword);
        }
        let known = self.passwords.get();
        let role = {
            let _one_at_a_time = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
            let role = passwords::ROLES.into_iter().find(|role| known.verify(*role, password));
            role.ok_or(Refused::WrongPassword)?
        };
        Ok((role, self.new_session(role, &known)?))
    }

    /// Sets the owner's password with the setup code, once, and signs the owner in. Blocks while hashing.
    ///
    /// Case, spaces and the dash of the code do not matter. After 20 wrong codes only a restart helps.
    ///
    /// # Errors
    /// [`Refused::AlreadySetUp`], [`Refused::TooManyTries`], [`Refused::WrongCode`], [`Refused::WeakPassword`] (the code
    /// stays valid), or [`Refused::Failed`] if a file cannot be written.
    pub fn setup(&self, code: &str, password: &str) -> Result<SessionToken, Refused> {
        // Held to the end, so that two callers with the right code come one after the other.
        let mut setup = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_owner() {
            return Err(Refused::AlreadySetUp);
        }
        setup.check(code)?;
        passwords::check_rule(password).map_err(Refused::WeakPassword)?;
        let hash = {
            let _one_at_a_time = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
            passwords::hash(password)?
        };
        self.passwords.change(|passwords| {
            // `duplex passwd` may have been faster.
            if passwords.of(Role::Owner).is_some() {
                return Err(Refused::AlreadySetUp);
            }
            passwords.set(Role::Owner, Some(hash));
            Ok(())
        })?;
        *setup = Setup::none();
        self.forget_setup_code()?;
        Ok(self.new_session(Role::Owner, &self.passwords.get())?)
    }

    /// The code with which the owner's password can be set, as `XXXX-XXXX`; for the device's own terminal only.
    ///
    /// `None` while there is an owner's password, and ever after one was set with the code: a new code needs a restart.
    pub fn setup_code(&self) -> Option<String> {
        if self.has_owner() {
            return None;
        }
        self.setup.lock().unwrap_or_else(PoisonError::into_inner).code()
    }

    /// The session that belongs to a cookie. Its 30 days start anew with use; that is written down once a day.
    pub fn session(&self, cookie_value: &str, now: SystemTime) -> Option<Session> {
        let id = secret::digest(cookie_value);
        let session = self.session_by_id(&id, now).filter(|_| self.sessions.get().contains(&id))?;
        if self.sessions.get().wants_renewal(&id, now) {
            let renewed: Result<(), Error> = self.sessions.change(|sessions| {
                sessions.renew(&id, now);
                Ok(())
            });
            if let Err(error) = renewed {
                tracing::error!("a session could not be prolonged: {error}");
            }
        }
        Some(session)
    }

    /// The session with this [`id`](Session::id), if it still holds; for what was opened with it and goes on, such as a
    /// WebSocket. Does not prolong it.
    pub fn session_by_id(&self, id: &str, now: SystemTime) -> Option<Session> {
        self.sessions.get().find(id, &self.passwords.get(), now)
    }

    /// Ends the session of a cookie; one that is not there is none of this function's business.
    ///
    /// # Errors
    /// If the file cannot be written; the session then still holds.
    pub fn sign_out(&self, cookie_value: &str) -> Result<(), Error> {
        self.end_session(&secret::digest(cookie_value))
    }

    /// Ends the session with this [`id`](Session::id); one that is not there is none of this function's business.
    ///
    /// # Errors
    /// If the file cannot be written; the session then still holds.
    pub fn end_session(&self, id: &str) -> Result<(), Error> {
        if !self.sessions.get().contains(id) {
            return Ok(());
        }
        self.sessions.change(|sessions| {
            sessions.remove(id);
            Ok(())
        })
    }

    /// Makes a token for a machine and returns it; it cannot be shown again. `expires` counts from now.
    ///
    /// # Errors
    /// If the name is not 1 to 64 letters, digits, dots, dashes or underscores, is taken, if no scope is given, if there are 200
    /// tokens already, or if the file cannot be written.
    pub fn token_new(&self, name: &str, scopes: &[Scope], expires: Option<Duration>) -> Result<String, Error> {
        let secret = format!("{}{}", tokens::PREFIX, secret::random()?);
        self.tokens.change(|tokens| tokens.add(name, scopes, expires, &secret, SystemTime::now()))?;
        Ok(secret)
    }

    /// All tokens, also expired ones, by name.
    pub fn token_list(&self) -> Vec<TokenInfo> {
        self.tokens.get().list()
    }

    /// Removes a token.
    ///
    /// # Errors
    /// If there is none of this name, or if the file cannot be written.
    pub fn token_revoke(&self, name: &str) -> Result<(), Error> {
        self.tokens.change(|tokens| tokens.remove(name))
    }

    /// What the bearer of this token may do; `None` for an unknown, expired or revoked one.
    pub fn token(&self, bearer: &str, now: SystemTime) -> Option<Token> {
        if !bearer.starts_with(tokens::PREFIX) {
            return None;
        }
        self.token_by_id(&secret::digest(bearer), now)
    }

    /// The token with this [`id`](Token::id), if it still holds.
    pub fn token_by_id(&self, id: &str, now: SystemTime) -> Option<Token> {
        self.tokens.get().find(id, now)
    }

    fn new_session(&self, role: Role, passwords: &Passwords) -> Result<SessionToken, Error> {
        let secret = secret::random()?;
        self.sessions.change(|sessions| {
            sessions.add(&secret::digest(&secret), role, passwords, SystemTime::now());
            Ok::<(), Error>(())
        })?;
        Ok(SessionToken::new(secret))
    }
}
