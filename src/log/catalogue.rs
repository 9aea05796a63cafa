//! Every event that a record can name. `docs/EVENTS.md` is made from this table.

#![forbid(unsafe_code)]

use super::{Level, Severity};

/// One kind of event.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Stable; what `event=` holds.
    pub id: &'static str,
    /// Of the usual case. An operation that failed is a warning.
    pub severity: Severity,
    /// The lowest level at which it is written.
    pub level: Level,
    /// What happened, and what to do where something is to be done.
    pub meaning: &'static str,
}

macro_rules! events {
    ($($name:ident = $id:literal, $severity:ident, $level:ident, $meaning:literal;)+) => {
        $(#[doc = $meaning] pub const $name: &str = $id;)+

        /// All of them, ordered by `id`.
        pub const EVENTS: &[Event] = &[$(Event {
            id: $id,
            severity: Severity::$severity,
            level: Level::$level,
            meaning: $meaning,
        },)+];
    };
}

/// What a chain writes of itself wherever it is in use; worth no note.
pub const USUAL: [&str; 3] = [LOG_SEAL, LOG_CHECKPOINT, LOG_ROTATED];

events! {
    BATCH_DECRYPTED = "batch.decrypted", Info, Verbose,
        "Messages were decrypted in one call: `count` of this key, `size` bytes in all. An error is that of the whole call.";
    BATCH_ENCRYPTED = "batch.encrypted", Info, Verbose,
        "Values were encrypted in one call: `count` of them, `size` bytes in all.";
    BATCH_REENCRYPTED = "batch.reencrypted", Info, Verbose,
        "Messages were written anew in one call: `count` of this key, `size` bytes in all, under its `new_version`.";
    CACHE_EVICTED = "cache.evicted", Warning, Basic,
        "Locked memory is full, and keys that nobody holds are given up for others: every use of one is a fetch. Raise RLIMIT_MEMLOCK.";
    CACHE_PURGED = "cache.purged", Notice, Basic,
        "Keys were wiped from memory because the application asked for it.";
    CACHE_STALE = "cache.stale", Warning, Basic,
        "No key server answers; cached keys go on serving until `max_stale`. Bring a key server back.";
    CLIENT_REFUSED = "client.refused", Error, Basic,
        "A client was not opened: `code` and `message` say why. A configuration that could not be read as far as its log leaves no record, only the error.";
    CLIENT_START = "client.start", Notice, Basic,
        "A client was opened.";
    CLIENT_STOP = "client.stop", Notice, Basic,
        "A client was closed. One that an application does not close (its process ends, or a binding only frees it) leaves neither this nor a last checkpoint.";
    CONFIG_FINDING = "config.finding", Warning, Basic,
        "The configuration permits something that its owner should know of; `message` says what to do.";
    CONFIG_LOADED = "config.loaded", Notice, Basic,
        "The configuration was read; `key_servers` are those that it names.";
    CONFIG_RELOAD_FAILED = "config.reload_failed", Error, Basic,
        "The configuration, or a file that it refers to, changed and cannot be used; the one before stays in force. \
         `message` says what to mend.";
    CONFIG_RELOADED = "config.reloaded", Notice, Basic,
        "The configuration was read again; `changed` is in force, `not_taken_up` once the client is opened again.";
    KEY_AMBIGUOUS = "key.ambiguous", Alert, Basic,
        "Two active keys carry one name and version; nothing is encrypted with either. Revoke the wrong one.";
    KEY_CONTRADICTION = "key.contradiction", Alert, Basic,
        "A key server gave another key under a known identifier; nothing is encrypted with it. Find out why.";
    KEY_CREATED = "key.created", Notice, Basic,
        "A key was made on a key server.";
    KEY_NAME_PERSONAL = "key.name_personal", Warning, Basic,
        "The name of a new key looks like personal data, and names are not secret. Use `keys.pseudonym_key`.";
    KEY_REFUSED = "key.refused", Warning, Basic,
        "A key was not used, or only because the policy is `relaxed`; `message` says why.";
    KEY_ROTATED = "key.rotated", Notice, Basic,
        "A new version of a key was made; what is encrypted from now on uses it.";
    KEY_ROTATION_DUE = "key.rotation_due", Warning, Basic,
        "The newest version of a key is older than `keys.rotate_after`. Rotate it.";
    KEY_STATE_DAMAGED = "key.state_damaged", Warning, Basic,
        "The file of `keys.state` holds lines that are not ours, or could not be written. Mend the disk, or restore the file.";
    KEY_VERSION_LOST = "key.version_lost", Alert, Basic,
        "The primary key server does not show a version that was in use before; nothing is encrypted with an older one. Find out why.";
    KMIP_ACTIVATE = "kmip.activate", Info, Basic,
        "KMIP Activate: a key was made usable.";
    KMIP_ADD_ATTRIBUTE = "kmip.add_attribute", Info, Basic,
        "KMIP Add Attribute: a key was given an attribute.";
    KMIP_CHECK = "kmip.check", Info, Basic,
        "KMIP Check: a key server was asked whether a key may be used.";
    KMIP_CREATE = "kmip.create", Info, Basic,
        "KMIP Create: a key was asked for.";
    KMIP_DECRYPT = "kmip.decrypt", Info, Basic,
        "KMIP Decrypt: a data encryption key was decrypted with a key that stays in the key server.";
    KMIP_DELETE_ATTRIBUTE = "kmip.delete_attribute", Info, Basic,
        "KMIP Delete Attribute: an attribute was taken from a key.";
    KMIP_DESTROY = "kmip.destroy", Info, Basic,
        "KMIP Destroy: a key was removed from the key server.";
    KMIP_DISCOVER_VERSIONS = "kmip.discover_versions", Info, Basic,
        "KMIP Discover Versions: the protocol version was agreed on.";
    KMIP_ENCRYPT = "kmip.encrypt", Info, Basic,
        "KMIP Encrypt: a data encryption key was encrypted with a key that stays in the key server.";
    KMIP_GET = "kmip.get", Info, Basic,
        "KMIP Get: a key was fetched.";
    KMIP_GET_ATTRIBUTE_LIST = "kmip.get_attribute_list", Info, Basic,
        "KMIP Get Attribute List: the names of a key's properties were read.";
    KMIP_GET_ATTRIBUTES = "kmip.get_attributes", Info, Basic,
        "KMIP Get Attributes: a key's state and properties were read.";
    KMIP_LOCATE = "kmip.locate", Info, Basic,
        "KMIP Locate: keys were looked up by name or group.";
    KMIP_MAC = "kmip.mac", Info, Basic,
        "KMIP MAC: an authentication code was computed with a key that stays in the key server.";
    KMIP_MESSAGE = "kmip.message", Debug, Debug,
        "A KMIP message as it was sent or received: tags, types and lengths, without the values. `part` counts its records.";
    KMIP_MODIFY_ATTRIBUTE = "kmip.modify_attribute", Info, Basic,
        "KMIP Modify Attribute: an attribute of a key was changed.";
    KMIP_QUERY = "kmip.query", Info, Basic,
        "KMIP Query: a key server was asked what it can do.";
    KMIP_REGISTER = "kmip.register", Info, Basic,
        "KMIP Register: a key was given to a key server.";
    KMIP_REKEY = "kmip.rekey", Info, Basic,
        "KMIP Re-key: a key server replaced a key by a new one.";
    KMIP_REVOKE = "kmip.revoke", Info, Basic,
        "KMIP Revoke: a key was deactivated, or said to be compromised.";
    KMIP_RNG_RETRIEVE = "kmip.rng_retrieve", Info, Basic,
        "KMIP RNG Retrieve: random bytes were fetched from a key server.";
    LIBRARY_DIAGNOSTIC = "library.diagnostic", Warning, Basic,
        "What the library has to say of itself, to the application's function alone; `message` says it. An error is a fault \
         to be reported.";
    LOG_CHECKPOINT = "log.checkpoint", Info, Basic,
        "All records before this one are sealed: the auditor's private key shows whether `proof` fits them.";
    LOG_CONTINUED = "log.continued", Warning, Basic,
        "The chain goes on although the file or its state was replaced, emptied, shortened or written to by others; \
         `reason` says which. After a rotation by others, such as logrotate, this is expected.";
    LOG_LEVEL_WARNING = "log.level_warning", Warning, Basic,
        "The log level `verbose` or `debug` is in force: it shows details of the application and fills disks.";
    LOG_LOST = "log.lost", Error, Basic,
        "`count` records could not be written before this one; `reason` is the system's last word on it.";
    LOG_ROTATED = "log.rotated", Notice, Basic,
        "The file before this one was full, or its time was over: it was put aside under the name that `reason` says.";
    LOG_SEAL = "log.seal", Info, Basic,
        "A seal begins, whose key is sealed to the auditor; expected where a file begins.";
    LOG_TORN_TAIL = "log.torn_tail", Warning, Basic,
        "The line before this record is the incomplete end of an interrupted write, kept as it was found.";
    MASK_REFUSED = "mask.refused", Warning, Basic,
        "A role asked for a value under a mask that it does not have; nothing was decrypted.";
    MESSAGE_DECRYPTED = "message.decrypted", Info, Verbose,
        "A message was decrypted; `size` is that of the plaintext, `mask` and `role` say how much of it was shown.";
    MESSAGE_ENCRYPTED = "message.encrypted", Info, Verbose,
        "A message was encrypted; `size` is that of the plaintext.";
    SERVER_FAILED = "server.failed", Warning, Basic,
        "A key server could not be reached or used; it is rested.";
    SERVER_FAILOVER = "server.failover", Warning, Basic,
        "Another key server takes over.";
    SERVER_RECOVERED = "server.recovered", Notice, Basic,
        "A key server that had failed answers again.";
    SPACE_DEK_DESTROYED = "space.dek_destroyed", Notice, Basic,
        "The key manager's own copy of a data space's key was destroyed; what is left is the protected DEK.";
    SPACE_DEK_ERASED = "space.dek_erased", Notice, Basic,
        "Every copy of a data space's key that storing it took was erased from memory; to be used it is unlocked.";
    SPACE_DEK_PROTECTED = "space.dek_protected", Notice, Basic,
        "The key manager encrypted a data space's key under its KEK; `rung` says how.";
    SPACE_DEK_REQUESTED = "space.dek_requested", Notice, Basic,
        "The key manager was asked to make the key of a data space.";
    SPACE_DEK_RETRIEVED = "space.dek_retrieved", Notice, Basic,
        "The key of a data space was fetched into protected memory.";
    SPACE_KEK_REQUESTED = "space.kek_requested", Notice, Basic,
        "The key manager was asked for the KEK of a data space. It stays there.";
    SPACE_LOCKED = "space.locked", Notice, Basic,
        "The key of a data space was deleted from memory.";
    SPACE_REFUSED = "space.refused", Warning, Basic,
        "A data space was not unlocked; `message` says why.";
    SPACE_REWRAPPED = "space.rewrapped", Notice, Basic,
        "A data space's key is protected under another KEK from now on; its data is as it was.";
    SPACE_STORED = "space.stored", Notice, Basic,
        "A protected DEK was written to `file`, and is on disk.";
    SPACE_UNLOCKED = "space.unlocked", Notice, Basic,
        "The key manager decrypted a data space's key, which is in protected memory now.";
    STREAM_DECRYPTED = "stream.decrypted", Info, Verbose,
        "A stream was decrypted to its end, or not so far; `size` is that of the plaintext that was given out.";
    STREAM_ENCRYPTED = "stream.encrypted", Info, Verbose,
        "A stream was encrypted to its end, or not so far; `size` is that of the plaintext.";
}

/// The event of that name.
pub fn find(id: &str) -> Option<&'static Event> {
    EVENTS.binary_search_by(|event| event.id.cmp(id)).ok().map(|at| &EVENTS[at])
}

/// The table as `docs/EVENTS.md` shows it.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Events\n\nEvery `event=` of the log. Severity and level are those of the usual case; an operation that failed is \
         a warning and carries\n`result=failure`. This page is made from `src/log/catalogue.rs`: \
         `UPDATE_DOCS=1 cargo test --test log`.\n\n| event | severity | level | meaning |\n|---|---|---|---|\n",
    );
    for event in EVENTS {
        page += &format!(
            "| `{}` | {} | {} | {} |\n",
            event.id,
            event.severity.name(),
            format!("{:?}", event.level).to_lowercase(),
            event.meaning
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_ordered_and_every_event_is_found() {
        assert!(EVENTS.is_sorted_by(|a, b| a.id < b.id));
        assert!(EVENTS.iter().all(|event| find(event.id).is_some_and(|found| found.id == event.id)));
        assert!(find("kmip.unheard_of").is_none());
    }
}
