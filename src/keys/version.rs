//! One version of a key in memory, and what its state, its dates and the last look at a server allow it.

#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::lookup::{Found, Standing};
use super::now;
use crate::envelope::stream::Decryptor;
use crate::envelope::{self, KeyId};
use crate::error::{Code, Error, Result};
use crate::kmip::State;
use crate::{config, log};

/// One version of a key with what is known of its state on the server.
pub struct Version {
    key: envelope::Key,
    identifier: String,
    state: AtomicU32,
    /// When the state was last verified, in coarse nanoseconds since boot.
    verified: AtomicU64,
    /// How often the cache gave it out since then.
    uses: AtomicU64,
    /// When it came into use, in seconds since 1970; zero where nobody knows.
    in_use_since: i64,
    /// The dates between which it encrypts, in seconds since 1970.
    activates: AtomicI64,
    deactivates: AtomicI64,
    /// Until when, on the same clock, the state, its dates and `max_stale` allow it.
    encrypts_until: AtomicU64,
    decrypts_until: AtomicU64,
    /// Key servers show something else in its place, so what it encrypts nobody may be able to read.
    is_contradicted: AtomicBool,
    /// When the cache last gave it out, on the same clock.
    used: AtomicU64,
    rules: Rules,
}

/// What the configuration says of every version.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// In nanoseconds.
    max_stale: u64,
    max_uses: Option<u64>,
    /// Whether it decrypts when it is compromised.
    allow_compromised: bool,
}

impl Rules {
    pub fn new(cache: &config::Cache, keys: &config::Keys) -> Rules {
        let max_stale = u64::try_from(cache.max_stale.as_nanos()).unwrap_or(u64::MAX);
        Rules { max_stale, max_uses: cache.max_uses, allow_compromised: keys.allow_compromised }
    }
}

impl Version {
    pub(super) fn new(key: envelope::Key, found: &Found, rules: Rules) -> Version {
        let version = Version {
            key,
            identifier: found.identifier.clone(),
            in_use_since: found.in_use_since().unwrap_or(0),
            state: AtomicU32::new(0),
            verified: AtomicU64::new(0),
            uses: AtomicU64::new(0),
            activates: AtomicI64::new(i64::MIN),
            deactivates: AtomicI64::new(i64::MAX),
            encrypts_until: AtomicU64::new(0),
            decrypts_until: AtomicU64::new(0),
            is_contradicted: AtomicBool::new(false),
            used: AtomicU64::new(now()),
            rules,
        };
        version.verify(found.standing());
        version
    }

    pub(super) fn key(&self) -> &envelope::Key {
        &self.key
    }

    pub(super) fn id(&self) -> &KeyId {
        self.key.id()
    }

    /// In seconds since 1970.
    pub(super) fn in_use_since(&self) -> Option<i64> {
        (self.in_use_since > 0).then_some(self.in_use_since)
    }

    /// The server's unique identifier.
    pub(super) fn identifier(&self) -> &str {
        &self.identifier
    }

    /// Takes over what a server has just told. States only advance (KMIP 1.4 §3.22): a server that tells an
    /// earlier one than another did before lags behind, and must not bring a revoked key back.
    ///
    /// A version encrypts while it is Active and between its dates, which a server may be slow to act on (§3.24, §3.27).
    pub(super) fn verify(&self, standing: Standing) {
        let (known, state) = (self.state(), standing.state);
        let is_known = !matches!(known, State::Other(_));
        let state = if is_known && state.number() < known.number() { known } else { state };
        let now = now();
        let stale = now.saturating_add(self.rules.max_stale);
        self.uses.store(0, Ordering::Relaxed);
        self.is_contradicted.store(false, Ordering::Relaxed);
        self.activates.store(standing.activates(), Ordering::Relaxed);
        self.deactivates.store(standing.deactivates(), Ordering::Relaxed);
        self.state.store(state.number(), Ordering::Relaxed);
        self.verified.store(now, Ordering::Relaxed);
        let encrypts_until = if state == State::Active { stale.min(now.saturating_add(standing.left())) } else { 0 };
        self.encrypts_until.store(encrypts_until, Ordering::Relaxed);
        self.key.end_sessions_at(encrypts_until);
        let is_allowed = state == State::Compromised && self.rules.allow_compromised;
        let decrypts = matches!(state, State::Active | State::Deactivated) || is_allowed;
        self.decrypts_until.store(if decrypts { stale } else { 0 }, Ordering::Relaxed);
    }

    /// Stops it from encrypting until it is verified again. Returns whether that is new.
    pub(super) fn contradict(&self) -> bool {
        let is_new = !self.is_contradicted.swap(true, Ordering::Relaxed);
        self.encrypts_until.store(0, Ordering::Relaxed);
        self.key.end_sessions_at(0);
        is_new
    }

    pub(super) fn is_verified_within(&self, limit: Duration) -> bool {
        self.was_verified_within(limit, now())
    }

    #[inline]
    pub(super) fn was_verified_within(&self, limit: Duration, now: u64) -> bool {
        u128::from(now.saturating_sub(self.verified.load(Ordering::Relaxed))) < limit.as_nanos()
    }

    pub(super) fn is_used_within(&self, limit: Duration) -> bool {
        u128::from(now().saturating_sub(self.used())) < limit.as_nanos()
    }

    /// It was given out at `now`.
    #[inline]
    pub(super) fn touch(&self, now: u64) {
        self.used.store(now, Ordering::Relaxed);
        if self.rules.max_uses.is_some() {
            self.uses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the cache has given it out more often since it was verified than the configuration allows.
    #[inline]
    pub(super) fn is_worn(&self) -> bool {
        self.rules.max_uses.is_some_and(|limit| self.uses.load(Ordering::Relaxed) > limit)
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn quiesce(&self) {
        self.key.quiesce();
    }

    /// What stands for `text` in names, the same for ever.
    pub(super) fn pseudonym(&self, text: &str) -> Result<String> {
        self.may_decrypt(now())?;
        self.key.pseudonym(text)
    }

    pub(super) fn decrypt(&self, message: &[u8], aad: &[u8], out: &mut [u8]) -> Result<usize> {
        self.may_decrypt(now())?;
        self.key.decrypt(message, aad, out)
    }

    pub(super) fn decrypt_stream(&self, start: &[u8], aad: &[u8]) -> Result<Decryptor> {
        self.may_decrypt(now())?;
        self.key.decrypt_stream(start, aad)
    }

    #[inline]
    pub(super) fn may_encrypt(&self, now: u64) -> Result<()> {
        if now < self.encrypts_until.load(Ordering::Relaxed) { Ok(()) } else { Err(self.refuse("encrypt")) }
    }

    #[inline]
    pub(super) fn may_decrypt(&self, now: u64) -> Result<()> {
        if now < self.decrypts_until.load(Ordering::Relaxed) { Ok(()) } else { Err(self.refuse("decrypt")) }
    }

    pub(super) fn check_stale(&self) -> Result<()> {
        let stale = self.verified.load(Ordering::Relaxed).saturating_add(self.rules.max_stale);
        if now() < stale { Ok(()) } else { Err(self.stale()) }
    }

    fn state(&self) -> State {
        State::of(self.state.load(Ordering::Relaxed))
    }

    /// Why it may not be used: its state, its dates, or that nobody has verified it for too long.
    #[cold]
    fn refuse(&self, use_: &str) -> Error {
        let id = self.id();
        if use_ == "encrypt" && self.is_contradicted.load(Ordering::Relaxed) {
            let message = format!(
                "the key servers now show something else in the place of key {id}, so what it encrypts may be lost; see the log \
                 (key.contradiction) and compare the servers of the cluster"
            );
            return Error::new(Code::AnswerUnexpected, message);
        }
        let is_space = id.space().is_some();
        let message = match self.state() {
            state @ State::Compromised if is_space && !(use_ == "decrypt" && self.rules.allow_compromised) => format!(
                "the key encryption key of {id} is {state}, so the space's key may not {use_}; encrypt its data anew, in a \
                 new space under a new key encryption key (keys.allow_compromised = true lets the old one decrypt)"
            ),
            State::Active if use_ == "encrypt" => match self.out_of_dates() {
                Some(why) => why,
                None => return self.stale(),
            },
            State::Active => return self.stale(),
            State::Deactivated if use_ == "decrypt" => return self.stale(),
            State::Compromised if use_ == "decrypt" && self.rules.allow_compromised => return self.stale(),
            State::Compromised if use_ == "decrypt" => format!(
                "key {id} is compromised and may not decrypt; set keys.allow_compromised = true while what it encrypted \
                 is encrypted anew"
            ),
            state @ State::PreActive => format!(
                "key {id} is {state} on the key server and may not {use_}; activate it with `keystead key activate {id}`"
            ),
            state => format!(
                "key {id} is {state} on the key server and may not {use_}; rotate the key to encrypt with a new version"
            ),
        };
        Error::new(Code::KeyState, message)
    }

    fn out_of_dates(&self) -> Option<String> {
        let (now, id) = (config::now(), self.id());
        let (from, to) = (self.activates.load(Ordering::Relaxed), self.deactivates.load(Ordering::Relaxed));
        if now < from {
            return Some(format!("key {id} encrypts from its activation date on, {}", log::utc(from)));
        }
        let ended = || format!("key {id} encrypted until its deactivation date, {}; rotate the key", log::utc(to));
        (now >= to).then(ended)
    }

    #[cold]
    fn stale(&self) -> Error {
        let message = format!(
            "the state of key {} could not be verified for more than {:?} (cache.max_stale), because no key server \
             answered; see the log for the reasons, and ask the client for the key again once a server is back",
            self.id(),
            Duration::from_nanos(self.rules.max_stale)
        );
        Error::new(Code::KeyStale, message)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::keys::lookup::tests::found;
    use crate::memory::slot::Slot;

    /// An active version that was just verified.
    pub fn version_of(id: &str) -> Version {
        let key = envelope::Key::new(KeyId::parse(id).unwrap(), Slot::copy_of(&[7; 32]).unwrap());
        let rules = Rules { max_stale: 60_000_000_000, max_uses: None, allow_compromised: false };
        Version::new(key, &found(id, State::Active), rules)
    }

    fn version(state: State) -> Version {
        version_in(state.into(), false)
    }

    fn version_in(standing: Standing, allow_compromised: bool) -> Version {
        let key = envelope::Key::new(KeyId::new("a", 1).unwrap(), Slot::copy_of(&[7; 32]).unwrap());
        let Standing { state, activation_date, deactivation_date } = standing;
        let found = Found { activation_date, deactivation_date, ..found("a/1", state) };
        Version::new(key, &found, Rules { max_stale: 60_000_000_000, max_uses: None, allow_compromised })
    }

    #[test]
    fn each_state_allows_what_the_table_says() {
        use State::*;
        let table = [
            (PreActive, false, false, false),
            (Active, true, true, true),
            (Deactivated, false, true, true),
            (Compromised, false, false, true),
            (Destroyed, false, false, false),
            (DestroyedCompromised, false, false, false),
            (Other(9), false, false, false),
        ];
        for (state, encrypts, decrypts, decrypts_when_allowed) in table {
            for allow_compromised in [false, true] {
                let version = version_in(state.into(), allow_compromised);
                let wanted = if allow_compromised { decrypts_when_allowed } else { decrypts };
                assert_eq!(version.may_encrypt(now()).is_ok(), encrypts, "{state}");
                assert_eq!(version.may_decrypt(now()).is_ok(), wanted, "{state}, {allow_compromised}");
            }
        }
    }

    #[test]
    fn a_version_encrypts_between_its_dates_and_decrypts_before_and_after() {
        let today = config::now();
        for (from, to, encrypts, says) in [
            (None, None, true, ""),
            (Some(today - 10), Some(today + 10), true, ""),
            (Some(today + 10), None, false, "from its activation date on"),
            (Some(today - 10), Some(today - 1), false, "until its deactivation date"),
        ] {
            let standing = Standing { state: State::Active, activation_date: from, deactivation_date: to };
            let version = version_in(standing, false);
            version.may_decrypt(now()).unwrap();
            match version.may_encrypt(now()) {
                Ok(()) => assert!(encrypts, "{standing:?}"),
                Err(error) => assert!(!encrypts && error.message().contains(says), "{error}"),
            }
        }
        let standing = Standing { state: State::Active, activation_date: None, deactivation_date: Some(today + 10) };
        let version = version_in(standing, false);
        version.may_encrypt(now() + 8_000_000_000).unwrap();
        assert!(version.may_encrypt(now() + 11_000_000_000).is_err(), "nobody need ask a server for that");
    }

    #[test]
    fn a_server_that_lags_brings_no_revoked_key_back() {
        let version = version(State::PreActive);
        for state in [State::Active, State::Deactivated, State::Compromised] {
            version.verify(state.into());
            [State::PreActive, State::Active].iter().for_each(|earlier| version.verify((*earlier).into()));
            assert_eq!(version.state(), state);
        }
        assert_eq!(version.may_encrypt(now()).unwrap_err().code(), Code::KeyState);
        assert_eq!(version.may_decrypt(now()).unwrap_err().code(), Code::KeyState);
    }

    #[test]
    fn a_version_that_servers_contradict_decrypts_only_until_they_agree_again() {
        let version = version(State::Active);
        let session = version.key().begin_session().unwrap();
        assert!(version.contradict() && !version.contradict(), "it is told of once");
        let error = version.may_encrypt(now()).unwrap_err();
        assert!(error.code() == Code::AnswerUnexpected && error.message().contains("compare the servers"), "{error}");
        version.may_decrypt(now()).unwrap();
        drop(session);
        version.verify(State::Active.into());
        version.may_encrypt(now()).unwrap();
        assert!(version.contradict());
    }

    #[test]
    fn a_state_nobody_knows_stops_use_until_a_known_one_is_told() {
        let version = version(State::Active);
        version.verify(State::Other(0x8000_0001).into());
        assert!(version.may_encrypt(now()).is_err() && version.may_decrypt(now()).is_err());
        version.verify(State::Active.into());
        version.may_encrypt(now()).unwrap();
    }
}
