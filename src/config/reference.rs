//! Every key of the file, for the parser's advice and for `docs/CONFIG.md`.

/// What is known of one key.
pub struct KeyDoc {
    /// Without brackets.
    pub section: &'static str,
    pub key: &'static str,
    /// After "takes": for advice and for the table.
    pub takes: &'static str,
    pub absent: Absent,
    pub meaning: &'static str,
}

/// What holds when a key is left out.
pub enum Absent {
    /// It must be there.
    Refused,
    /// This value, as TOML.
    Is(&'static str),
    /// What is done instead.
    Means(&'static str),
}

use Absent::{Is, Means, Refused};

const FILE: &str = "the path of a file";
const PEM: &str = "the path of a PEM file, \"env:NAME\" or \"cred:NAME\"";
const TRUST: &str =
    "the path of a PEM file, \"env:NAME\", \"cred:NAME\", \"sha256:HEX\" or a list of such fingerprints";
const PASSWORD: &str = "text, \"file:PATH\", \"env:NAME\" or \"cred:NAME\"";
const SIZE: &str = "a size in KiB, MiB or GiB, such as \"100MiB\"";
const DURATION: &str = "a duration in ms, s, m, h or d, such as \"2s\"";

/// Every section with its meaning, in the order of the document.
pub const SECTIONS: &[(&str, &str)] = &[
    ("client", "Who we are."),
    ("tls", "Whom we trust and who we are, towards every key server; each `[[server]]` may override any of it."),
    ("server", "One key server. The first `[[server]]` is the primary; the others are tried in their order."),
    ("failover", "What happens when a key server cannot be reached."),
    ("cache", "Keys that are kept in locked memory."),
    ("keys", "Named keys."),
    ("log", "The log, one line for each record."),
    ("audit", "The audit trail, one CSV row for each operation and key server. Written at every log level."),
    (
        "mask",
        "Which roles see how much of a value, for calls that name a mask and a role. A role that no mask of that name has sees nothing.",
    ),
];

/// The sections that may be repeated.
const REPEATED: [&str; 2] = ["server", "mask"];

pub fn is_repeated(section: &str) -> bool {
    REPEATED.contains(&section)
}

/// Every key, section by section.
#[rustfmt::skip]
pub const KEYS: &[KeyDoc] = &[
    doc("client", "name", "1 to 64 characters", Refused, "Names this application in every record."),
    doc("client", "policy", "\"strict\" or \"relaxed\"", Is("\"strict\""),
        "`strict` refuses what the rules of key keeping forbid, such as a key server on the machine that holds the data. \
         `relaxed` warns instead. Files, owners, modes and certificates are held to the same rules under both."),
    doc("tls", "ca_certificate", TRUST, Means("each server has its own"),
        "The certificates of the authorities that may have issued a key server's certificate, or the SHA-256 fingerprints that the \
         server's own certificate may have."),
    doc("tls", "crl", PEM, Means("nobody is asked"),
        "The certificate revocation lists of the authorities of `ca_certificate`, and of those between. A key server whose certificate is \
         on them is refused, and so is one of which none of them tells, or only one that has ended."),
    doc("tls", "client_certificate", PEM, Means("each server has its own"),
        "Our certificate, then those that lead to its authority."),
    doc("tls", "client_key", PEM, Means("each server has its own"),
        "The private key of `client_certificate`, in a file with mode 0600 or 0400."),
    doc("tls", "client_key_password", PASSWORD, Means("`client_key` is not protected"),
        "What `client_key` is protected with, where it is an `ENCRYPTED PRIVATE KEY`."),
    doc("server", "host", "a DNS name or an IP address", Refused,
        "Where the key server is, and the name that its certificate must carry."),
    doc("server", "port", "a number from 1 to 65535", Is("5696"), "Its KMIP port."),
    doc("server", "kmip_version", "\"1.0\", \"1.1\", \"1.2\", \"1.3\" or \"1.4\"", Means("the highest that both speak"),
        "Pins the protocol version, for a server that negotiates wrongly."),
    doc("server", "user", "1 to 64 characters", Means("no credential is sent"), "KMIP user name."),
    doc("server", "password", PASSWORD, Means("no password is sent"), "KMIP password; needs `user`."),
    doc("server", "ca_certificate", TRUST, Means("as in `[tls]`"), "For this server only."),
    doc("server", "crl", PEM, Means("as in `[tls]`"), "For this server only."),
    doc("server", "client_certificate", PEM, Means("as in `[tls]`"), "For this server only."),
    doc("server", "client_key", PEM, Means("as in `[tls]`"), "For this server only."),
    doc("server", "client_key_password", PASSWORD, Means("as in `[tls]`"), "For this server only."),
    doc("server", "max_connections", "a number from 1 to 65535", Is("64"),
        "How many connections to it are in use at once, at most. More calls than that wait for one. Up to 16 are kept for the next calls."),
    doc("server", "max_idle", DURATION, Is("\"25s\""),
        "A connection that nobody has used for so long is closed, best before the server or a firewall forgets it."),
    doc("failover", "delay", DURATION, Is("\"2s\""), "From a failed server to the try of the next one."),
    doc("failover", "rounds", "a number from 1", Is("3"), "How often the whole list of servers is tried."),
    doc("failover", "deadline", DURATION, Is("\"30s\""), "For a whole call, over all servers and rounds."),
    doc("failover", "reads", "\"ordered\" or \"round_robin\"", Is("\"ordered\""),
        "Which server is asked first where nothing is changed: the first that serves, in their order, or each in its turn, which spreads \
         the load where replicas lag little."),
    doc("failover", "replication_delay", DURATION, Is("\"5s\""),
        "What one server has, the others have after so long. A key that was seen and that no server knows which can be reached is \
         asked for again within this time, while a server cannot be reached. `\"0s\"` believes them at once."),
    doc("cache", "ttl", DURATION, Is("\"10m\""), "After this a key's state is verified again."),
    doc("cache", "version_ttl", DURATION, Means("as `ttl`"),
        "After this a key is asked for its newest version: so long a rotation made elsewhere may go unnoticed. At most `ttl`."),
    doc("cache", "max_stale", DURATION, Means("`\"1h\"`, or `ttl` where that is longer"),
        "How long a key stays usable while no server answers, since its state was last verified. At least `ttl`."),
    doc("cache", "max_uses", "a number from 1", Means("no number of uses is too many"),
        "After a key was given out so many times, by name or to decrypt, its state is verified again."),
    doc("cache", "max_entries", "a number from 1", Is("1000"), "How many keys are kept at most."),
    doc("keys", "algorithm", "\"AES-256\"", Is("\"AES-256\""),
        "What keys are of. There is no other; it can be said for those who ask."),
    doc("keys", "template", "text with `{id}` in it, such as \"customer-{id}\"", Means("users have no keys of their own"),
        "How the key of a user, customer or document is named, where the application gives what tells them apart."),
    doc("keys", "pseudonym_key", "the name of a key", Means("identifiers stand in the names as they are"),
        "The key that makes a pseudonym of each identifier (HMAC-SHA-256), so that names on key servers and in data tell nothing of \
         people. It is never destroyed; rotating it changes no name."),
    doc("keys", "rotate_after", DURATION, Means("no rotation is ever due"),
        "The age at which a version is to be rotated: it is recorded, and shown by `keystead key list` and in the status."),
    doc("keys", "state", FILE, Means("kept in memory only"),
        "Where is kept the highest version that was seen of each key, and what is known to need a version, so that neither is \
         forgotten with the process. Processes of one application share it. No secrets."),
    doc("keys", "allow_compromised", "true or false", Is("false"),
        "Whether a compromised version decrypts, which re-encrypting its data takes. It never encrypts."),
    doc("log", "level", "\"none\", \"basic\", \"verbose\" or \"debug\"", Is("\"basic\""), "How much is logged. \"basic\" is every operation of a key server, and every change of configuration and operation. \"verbose\" adds each \
         encryption and decryption, with key, size and result; \"debug\" the structure of every KMIP message, without the values in it."),
    doc("log", "format", "\"syslog\", \"syslog-5424\", \"cef\" or \"leef\"", Is("\"syslog\""),
        "How a line is written: key=value pairs behind a header of RFC 3164 or RFC 5424, CEF 0, or LEEF 2.0."),
    doc("log", "target", "\"file:PATH\", \"stderr\", \"syslog\", \"syslog:SOCKET\", \"udp://HOST:514\", \"tcp://HOST:601\" or \"tls://HOST:6514\"",
        Means("no log is written"),
        "Where lines go: a file, standard error, the syslog socket of this machine, or a collector; TCP and TLS with octet counting \
         (RFC 6587, RFC 5425)."),
    doc("log", "ca_certificate", TRUST, Means("as in `[tls]`"), "For a collector over TLS."),
    doc("log", "crl", PEM, Means("as in `[tls]`, unless `ca_certificate` is another"), "For a collector over TLS."),
    doc("log", "client_certificate", PEM, Means("as in `[tls]`"), "For a collector over TLS; shown to one that asks for it."),
    doc("log", "client_key", PEM, Means("as in `[tls]`"), "For a collector over TLS."),
    doc("log", "client_key_password", PASSWORD, Means("as in `[tls]`"), "For a collector over TLS."),
    doc("log", "rotate_size", SIZE, Means("no size is too large"), "A file of this size is renamed to `FILE.SERIAL`, and a new one is begun."),
    doc("log", "rotate_every", DURATION, Means("no time is too long"),
        "The same at the end of each such period since 1970 (UTC), with the first record after it: `\"1d\"` is midnight."),
    doc("log", "rotate_keep", "a number from 1", Means("all are kept"), "How many renamed files are kept; the oldest are removed."),
    doc("log", "durability", "\"flush\" or \"fsync\"", Is("\"flush\""),
        "When a record is written to a file: when the system has it, or when the disk has it, which survives a power failure. One call of \
         fdatasync(2) serves all who wait."),
    doc("log", "auditor_key", PEM, Means("nothing is sealed"),
        "The auditor's public key (`keystead log keygen`), to which the log and the audit trail are sealed, in files and \
         towards collectors: only its private key, kept elsewhere, shows whether somebody rewrote them (`docs/AUDITORS.md`)."),
    doc("log", "on_failure", "\"continue\" or \"refuse\"", Is("\"continue\""),
        "What is done while records cannot be written: the application works on and later records count what was lost, or calls \
         on the client are refused."),
    doc("audit", "file", FILE, Means("no audit trail is written"), "The CSV file."),
    doc("audit", "rotate_size", SIZE, Means("no size is too large"), "A file of this size is renamed to `FILE.SERIAL`, and a new one is begun."),
    doc("audit", "rotate_every", DURATION, Means("no time is too long"),
        "The same at the end of each such period since 1970 (UTC), with the first record after it: `\"1d\"` is midnight."),
    doc("audit", "rotate_keep", "a number from 1", Means("all are kept"), "How many renamed files are kept; the oldest are removed."),
    doc("audit", "durability", "\"flush\" or \"fsync\"", Is("\"flush\""), "When a row is written: when the system has it, or when the disk has it."),
    doc("mask", "name", "1 to 64 characters", Refused, "What calls name. Several masks may have one name, for different roles."),
    doc("mask", "show", "\"first N\", \"last N\", \"first N last N\", \"e-mail\", \"card\", \"year\" or \"nothing\"", Refused,
        "What is left to be seen: characters at the ends, if at least half of them stay hidden; `a***@example.com`; the last four digits of a card's number; \
         the year of a date. A value that does not look like that, and what is not UTF-8, becomes `***`."),
    doc("mask", "roles", "a list of texts of 1 to 64 characters", Refused, "The roles that see so much."),
];

const fn doc(
    section: &'static str,
    key: &'static str,
    takes: &'static str,
    absent: Absent,
    meaning: &'static str,
) -> KeyDoc {
    KeyDoc { section, key, takes, absent, meaning }
}

/// The keys of a section.
pub fn keys_of(section: &str) -> impl Iterator<Item = &'static KeyDoc> {
    KEYS.iter().filter(move |doc| doc.section == section)
}

/// The section's header, as it is written in the file.
pub fn header(section: &str) -> String {
    if is_repeated(section) { format!("[[{section}]]") } else { format!("[{section}]") }
}

/// The candidate that was probably meant by `word`.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + word.len() / 4;
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and substitutions between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/CONFIG.md`.
    fn markdown() -> String {
        let mut page = String::from(include_str!("reference.md"));
        for (section, meaning) in SECTIONS {
            page += &format!("\n## `{}`\n\n{meaning}\n\n", header(section));
            page += "| key | takes | when left out | meaning |\n|---|---|---|---|\n";
            for doc in keys_of(section) {
                let absent = match doc.absent {
                    Refused => "refused".to_owned(),
                    Is(value) => format!("`{value}`"),
                    Means(what) => what.to_owned(),
                };
                page += &format!("| `{}` | {} | {absent} | {} |\n", doc.key, doc.takes, doc.meaning);
            }
        }
        page
    }

    #[test]
    fn the_page_on_the_configuration_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIG.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap_or_default();
        assert!(page == markdown(), "docs/CONFIG.md is stale; UPDATE_DOCS=1 cargo test --lib the_page writes it");
    }

    #[test]
    fn a_slip_of_the_pen_finds_its_key_and_another_word_does_not() {
        let keys = || keys_of("cache").map(|doc| doc.key);
        assert_eq!(nearest("max_stal", keys()), Some("max_stale"));
        assert_eq!(nearest("tlt", keys()), None);
        assert_eq!(nearest("tt", keys()), Some("ttl"));
        assert_eq!(nearest("colour", keys()), None);
    }
}
