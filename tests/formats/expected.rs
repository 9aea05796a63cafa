//! What each format has to say of a record, field by field: all that docs/LOG.md names, and nothing besides.

use std::collections::BTreeMap;
use std::process::Command;

use keystead::log::Format;
use ring::digest;

/// What a reader finds.
pub type Fields = BTreeMap<String, String>;

/// The fields of a record.
pub type Entry = Vec<(&'static str, Value)>;

/// A value, and what a reader of each format finds.
pub struct Value {
    pub written: String,
    /// In key=value pairs, which lose nothing.
    pub pair: String,
    /// In key=value pairs, as it stands between its quotes.
    pub quoted: String,
    pub cef: String,
    pub leef: String,
}

pub fn value(written: &str, quoted: &str, cef: &str, leef: &str) -> Value {
    let [written, quoted, cef, leef] = [written, quoted, cef, leef].map(str::to_owned);
    Value { pair: written.clone(), written, quoted, cef, leef }
}

pub fn same(written: &str) -> Value {
    value(written, written, written, written)
}

fn shown(written: &str, shown: &str) -> Value {
    value(written, shown, shown, shown)
}

/// Every name that a format treats in a way of its own, and one that none knows.
const NAMES: [&str; 15] = [
    "key_server",
    "ip_addr",
    "port",
    "key_name",
    "operation",
    "user",
    "result",
    "reason",
    "message",
    "identifier",
    "state",
    "kmip_version",
    "key_version",
    "duration_us",
    "last_seen",
];

pub fn plain() -> Entry {
    let values = [
        "kms1.example.com",
        "2001:db8::7",
        "5696",
        "customer-42",
        "Get",
        "alice",
        "success",
        "none",
        "said",
        "4f",
        "Active",
        "1.4",
        "2",
        "1234",
        "yesterday",
    ];
    NAMES.into_iter().zip(values.map(same)).collect()
}

/// Delimiters of every format, what looks like their syntax, what breaks, hides or turns a line, what is too long, and
/// text beyond ASCII.
pub fn hostile() -> Vec<Value> {
    let long = format!("{}…(+320 bytes)", "é".repeat(240));
    vec![
        same(""),
        same("x="),
        same("192.0.2.7"),
        same("a=b, cs1=00 sha256=00 prev="),
        same("|CEF:0|LEEF:2.0|x09|"),
        same("] [x@1 <14>1 - %s ' #"),
        same("Zoë 鍵 🔑 e\u{301}"),
        same("no\u{a0}break\u{3000}wide=x"),
        value(r#"say "no""#, r#"say \"no\""#, r#"say "no""#, r#"say "no""#),
        value(r"C:\dir\", r"C:\\dir\\", r"C:\dir\", r"C:\dir\"),
        value(r#"\" \= \|"#, r#"\\\" \\= \\|"#, r#"\" \= \|"#, r#"\" \= \|"#),
        value(r"\n no line end", r"\\n no line end", r"\n no line end", r"\n no line end"),
        value("two\r\nlines", r"two\r\nlines", "two\r\nlines", r"two\r\nlines"),
        value("a\tb", r"a\tb", r"a\u{9}b", r"a\tb"),
        value(" both ends ", " both ends ", r"\u{20}both ends\u{20}", " both ends "),
        shown("\0\u{1b}[31m\u{7f}", r"\u{0}\u{1b}[31m\u{7f}"),
        shown("\u{85}\u{9b}\u{2028}\u{2029}", r"\u{85}\u{9b}\u{2028}\u{2029}"),
        shown("\u{202e}\u{2066}\u{200f}\u{feff}\u{e0041}", r"\u{202e}\u{2066}\u{200f}\u{feff}\u{e0041}"),
        Value { pair: long.clone(), ..shown(&"é".repeat(400), &long) },
    ]
}

/// As many records as there are values, so that each value has each name once.
pub fn records(values: impl Fn() -> Vec<Value>) -> Vec<Entry> {
    let turned = |turn: usize| {
        let mut values = values();
        values.rotate_left(turn);
        NAMES.into_iter().zip(values).collect()
    };
    (0..values().len()).map(turned).collect()
}

/// What a record says besides its own fields.
pub struct Stamp {
    pub pid: u32,
    pub host: String,
    /// The offset of local time, as `date` has it.
    pub zone: String,
    /// As the record has it: in milliseconds, or in the form of RFC 3339.
    pub time: String,
    pub client: Value,
    pub stream: String,
    pub serial: u64,
    pub prev: String,
    pub sha256: String,
}

fn fields<const N: usize>(pairs: [(&str, &str); N]) -> Fields {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The pairs of both syslog formats, with what `of` takes of each value.
pub fn pairs(stamp: &Stamp, record: &Entry, of: impl Fn(&Value) -> &String) -> Fields {
    let (serial, pid) = (stamp.serial.to_string(), stamp.pid.to_string());
    let mut all = fields([
        ("serial", &serial),
        ("stream", &stamp.stream),
        ("ts", &stamp.time),
        ("zone", &stamp.zone),
        ("host", &stamp.host),
        ("pid", &pid),
        ("client", of(&stamp.client)),
        ("event", "kmip.get"),
        ("severity", "warning"),
        ("prev", &stamp.prev),
        ("sha256", &stamp.sha256),
    ]);
    all.extend(record.iter().map(|(name, value)| ((*name).to_owned(), of(value).clone())));
    all
}

/// The columns before the pairs of CEF and LEEF.
pub fn columns(format: Format) -> Fields {
    let mut all = fields([
        ("vendor", "Keystead"),
        ("product", "Keystead"),
        ("product_version", env!("CARGO_PKG_VERSION")),
        ("event", "kmip.get"),
    ]);
    all.extend(if format == Format::Cef {
        fields([("version", "0"), ("name", "KMIP Get: a key was fetched"), ("severity", "6")])
    } else {
        fields([("version", "2.0")])
    });
    all
}

pub fn cef(stamp: &Stamp, record: &Entry) -> Fields {
    let (serial, pid) = (stamp.serial.to_string(), stamp.pid.to_string());
    let mut all = fields([
        ("externalId", &serial),
        ("deviceExternalId", &stamp.stream),
        ("rt", &stamp.time),
        ("dtz", &stamp.zone),
        ("dvchost", &stamp.host),
        ("dvcpid", &pid),
        ("sourceServiceName", &stamp.client.cef),
        ("cs1", &stamp.sha256),
        ("cs1Label", "sha256"),
        ("cs2", &stamp.prev),
        ("cs2Label", "prev"),
    ]);
    // The format has no way to write an empty value.
    for (name, value) in record.iter().filter(|(_, value)| !value.written.is_empty()) {
        let (key, label) = match *name {
            "ip_addr" if value.written == "2001:db8::7" => ("c6a3", Some("Destination IPv6 Address")),
            "ip_addr" => ("dst", None),
            "key_server" => ("dhost", None),
            "port" => ("dpt", None),
            "user" => ("suser", None),
            "operation" => ("act", None),
            "result" => ("outcome", None),
            "message" => ("msg", None),
            "key_name" => ("cs3", Some("key_name")),
            "identifier" => ("cs4", Some("identifier")),
            "state" => ("cs5", Some("state")),
            "kmip_version" => ("cs6", Some("kmip_version")),
            "duration_us" => ("cn1", Some("duration_us")),
            "key_version" => ("cn2", Some("key_version")),
            "last_seen" => ("keysteadLastSeen", None),
            other => (other, None),
        };
        all.insert(key.to_owned(), value.cef.clone());
        all.extend(label.map(|label| (format!("{key}Label"), label.to_owned())));
    }
    all
}

pub fn leef(stamp: &Stamp, record: &Entry) -> Fields {
    let (serial, pid) = (stamp.serial.to_string(), stamp.pid.to_string());
    let mut all = fields([
        ("serial", &serial),
        ("stream", &stamp.stream),
        ("devTime", &stamp.time),
        ("zone", &stamp.zone),
        ("sev", "6"),
        ("host", &stamp.host),
        ("pid", &pid),
        ("client", &stamp.client.leef),
        ("prev", &stamp.prev),
        ("sha256", &stamp.sha256),
    ]);
    let name = |name: &'static str| match name {
        "ip_addr" => "dst",
        "port" => "dstPort",
        "user" => "usrName",
        other => other,
    };
    all.extend(record.iter().map(|(field, value)| (name(field).to_owned(), value.leef.clone())));
    all
}

/// The line from the body on, and the SHA-256 of what is hashed of it, as docs/LOG.md tells to compute it.
pub fn hash(format: Format, line: &str) -> (&str, String) {
    let (begin, end) = match format {
        Format::Cef => ("CEF:", " cs1Label="),
        Format::Leef => ("LEEF:", "\tsha256="),
        _ => (" serial=", " sha256="),
    };
    let body = &line[line.find(begin).unwrap()..];
    let body = body.strip_prefix(' ').unwrap_or(body);
    let hashed = body.strip_prefix(begin).unwrap_or(body);
    let sum = digest::digest(&digest::SHA256, &hashed.as_bytes()[..hashed.rfind(end).unwrap()]);
    (body, sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What the command `date` says.
pub fn date(arguments: &[&str]) -> String {
    let output = Command::new("date").env("LC_ALL", "C").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
