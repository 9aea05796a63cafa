//! Request and response messages (KMIP 1.4 §7.1).

#![forbid(unsafe_code)]

use zeroize::Zeroizing;

use super::operation::{Operation, write_version};
use super::tags;
use super::ttlv::{self, Malformed, Reader, Writer};
use super::values::{ResultReason, Version};
use crate::error::Result;

/// The longest reply that is asked for and accepted, in bytes.
pub const MAXIMUM_REPLY: usize = 1 << 20;

/// The KMIP user and password of the configuration.
pub struct Credential {
    pub user: String,
    pub password: Option<Zeroizing<String>>,
}

/// What a request says besides its operations.
pub struct Head<'a> {
    pub version: Version,
    pub credential: Option<&'a Credential>,
    /// The Unique Batch Item ID of the first operation; the others count up.
    pub first_item: u64,
}

/// Writes a request with one batch item for each operation.
pub fn write_request<O: Operation>(writer: &mut Writer, head: &Head<'_>, operations: &[O]) {
    writer.structure(tags::REQUEST_MESSAGE, |message| {
        message.structure(tags::REQUEST_HEADER, |header| write_header(header, head, operations.len()));
        for (item, operation) in (head.first_item..).zip(operations) {
            message.structure(tags::BATCH_ITEM, |batch| {
                batch.enumeration(tags::OPERATION, O::CODE);
                batch.bytes(tags::UNIQUE_BATCH_ITEM_ID, &item.to_be_bytes());
                batch.structure(tags::REQUEST_PAYLOAD, |payload| operation.write(payload, head.version));
            });
        }
    });
}

fn write_header(header: &mut Writer, head: &Head<'_>, count: usize) {
    /// After a failed item the server goes on with the next.
    const CONTINUE: u32 = 1;
    write_version(header, head.version);
    header.integer(tags::MAXIMUM_RESPONSE_SIZE, MAXIMUM_REPLY as i32);
    if let Some(credential) = head.credential {
        header.structure(tags::AUTHENTICATION, |authentication| write_credential(authentication, credential));
    }
    if count > 1 {
        header.enumeration(tags::BATCH_ERROR_CONTINUATION_OPTION, CONTINUE);
    }
    header.integer(tags::BATCH_COUNT, i32::try_from(count).unwrap_or(i32::MAX));
}

fn write_credential(authentication: &mut Writer, credential: &Credential) {
    const USERNAME_AND_PASSWORD: u32 = 1;
    authentication.structure(tags::CREDENTIAL, |writer| {
        writer.enumeration(tags::CREDENTIAL_TYPE, USERNAME_AND_PASSWORD);
        writer.structure(tags::CREDENTIAL_VALUE, |value| {
            value.text(tags::USERNAME, &credential.user);
            if let Some(password) = &credential.password {
                value.text(tags::PASSWORD, password);
            }
        });
    });
}

/// How long the reply is of which `bytes` have arrived: `None` until that can be told. What cannot become
/// a reply of acceptable length is refused by its first wrong byte.
pub fn reply_length(bytes: &[u8]) -> std::result::Result<Option<usize>, Malformed> {
    let start = &(tags::RESPONSE_MESSAGE << 8 | ttlv::Kind::Structure as u32).to_be_bytes();
    if !start.iter().zip(bytes).all(|(expected, found)| expected == found) {
        return Err(Malformed::new("it does not start like a KMIP response"));
    }
    let Some((header, _)) = bytes.split_first_chunk::<{ ttlv::HEADER }>() else { return Ok(None) };
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
    if length > MAXIMUM_REPLY - ttlv::HEADER {
        return Err(Malformed::new(format!("it claims {length} bytes, more than the {MAXIMUM_REPLY} allowed")));
    }
    Ok(Some(ttlv::HEADER + length))
}

/// What the server says of one operation: the payload of a success, or why not.
pub struct Outcome<'a> {
    operation: Option<u32>,
    pub result: std::result::Result<Reader<'a>, Refusal>,
}

impl Outcome<'_> {
    /// Whether this is about the operation with that number, as far as the server says.
    pub fn is_about(&self, operation: u32) -> bool {
        self.operation.is_none_or(|named| named == operation)
    }
}

/// Why the server did not carry out an operation.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub reason: Option<ResultReason>,
    /// Printable and cut to a sentence's length.
    pub message: Option<String>,
}

/// What a server says of its reply as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyHead {
    /// When it made the reply, in seconds since 1970 (KMIP 1.4 §6.5).
    pub server_time: Option<i64>,
    /// Its own mark for what it did, for its operator (KMIP 1.4 §6.19). Printable and cut to a sentence's length.
    pub server_correlation: Option<String>,
}

/// The head of a reply, as far as it can be read: it is for records, and nothing depends on it.
pub fn read_head(bytes: &[u8]) -> ReplyHead {
    /// From 1970 to 9999.
    const YEARS: std::ops::Range<i64> = 0..253_402_300_800;
    let header = || Reader::message(bytes, tags::RESPONSE_MESSAGE)?.require(tags::RESPONSE_HEADER)?.structure();
    let Ok(header) = header() else { return ReplyHead::default() };
    let found = |tag| header.find(tag).ok().flatten();
    ReplyHead {
        server_time: found(tags::TIME_STAMP).and_then(|time| time.date_time().ok()).filter(|time| YEARS.contains(time)),
        server_correlation: found(tags::SERVER_CORRELATION_VALUE).and_then(|mark| mark.text().ok().map(printable)),
    }
}

/// Checks a reply and returns its outcomes in the order of the request, whatever the order of the reply.
/// `None` is an operation that the server did not come to.
pub fn read_reply(bytes: &[u8], first_item: u64, requested: usize) -> Result<Vec<Option<Outcome<'_>>>> {
    let message = Reader::message(bytes, tags::RESPONSE_MESSAGE)?;
    expect_version_1(message.require(tags::RESPONSE_HEADER)?.structure()?)?;
    let mut outcomes: Vec<Option<Outcome<'_>>> = std::iter::repeat_with(|| None).take(requested).collect();
    let mut unnamed = None;
    for item in message.all(tags::BATCH_ITEM) {
        let item = item?.structure()?;
        let slot = match item.find(tags::UNIQUE_BATCH_ITEM_ID)? {
            Some(id) => outcomes.get_mut(position(id.bytes()?, first_item)?),
            None => Some(&mut unnamed),
        };
        match slot {
            Some(slot @ None) => *slot = Some(read_outcome(item)?),
            _ => return Err(Malformed::new("it answers an operation twice, or one that was not requested").into()),
        }
    }
    match unnamed {
        Some(outcome) => for_all(outcome, outcomes),
        None if outcomes.iter().all(Option::is_none) => Err(Malformed::new("it answers nothing").into()),
        None => Ok(outcomes),
    }
}

/// The minor version is of no consequence: a server that could not parse the request answers as 1.0.
fn expect_version_1(header: Reader<'_>) -> Result<()> {
    let version = header.require(tags::PROTOCOL_VERSION)?.structure()?;
    let major = version.require(tags::PROTOCOL_VERSION_MAJOR)?.integer()?;
    let minor = version.require(tags::PROTOCOL_VERSION_MINOR)?.integer()?;
    match major {
        1 => Ok(()),
        _ => Err(Malformed::new(format!("it is of KMIP {major}.{minor}")).into()),
    }
}

/// Where the operation with this Unique Batch Item ID stands in the request; beyond it for another's.
fn position(id: &[u8], first_item: u64) -> std::result::Result<usize, Malformed> {
    let id = id.try_into().map(u64::from_be_bytes).map_err(|_| Malformed::new("it has an item id that is not ours"))?;
    Ok(usize::try_from(id.wrapping_sub(first_item)).unwrap_or(usize::MAX))
}

/// A server that could not parse the request names neither operation nor item: its one outcome is that of
/// all. Some leave the id out of a single success, too.
fn for_all<'a>(outcome: Outcome<'a>, outcomes: Vec<Option<Outcome<'a>>>) -> Result<Vec<Option<Outcome<'a>>>> {
    let alone = outcomes.iter().all(Option::is_none);
    match outcome.result {
        Err(refusal) if alone => {
            let same = |_| Some(Outcome { operation: None, result: Err(refusal.clone()) });
            Ok(outcomes.iter().map(same).collect())
        }
        Ok(_) if alone && outcomes.len() == 1 => Ok(vec![Some(outcome)]),
        _ => Err(Malformed::new("it does not say which operation it answers").into()),
    }
}

fn read_outcome(item: Reader<'_>) -> Result<Outcome<'_>> {
    const SUCCESS: u32 = 0;
    let operation = item.find(tags::OPERATION)?.map(|operation| operation.enumeration()).transpose()?;
    let result = match item.require(tags::RESULT_STATUS)?.enumeration()? {
        SUCCESS => match item.find(tags::RESPONSE_PAYLOAD)? {
            Some(payload) => Ok(payload.structure()?),
            None => Ok(Reader::empty()),
        },
        _ => Err(read_refusal(item)?),
    };
    Ok(Outcome { operation, result })
}

fn read_refusal(item: Reader<'_>) -> Result<Refusal> {
    let reason = item.find(tags::RESULT_REASON)?.map(|reason| reason.enumeration()).transpose()?;
    let message = item.find(tags::RESULT_MESSAGE)?.map(|message| message.text()).transpose()?;
    Ok(Refusal { reason: reason.map(ResultReason), message: message.map(printable) })
}

/// A server's words, fit for a line of a log.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 300;
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::with_capacity(1024);
        writer.structure(tags::RESPONSE_MESSAGE, |message| message.structure(tags::RESPONSE_HEADER, fill));
        writer.written().unwrap().to_vec()
    }

    #[test]
    fn a_server_says_when_it_answered_and_how_it_marks_that() {
        let told = reply(|header| {
            header.date_time(tags::TIME_STAMP, 1_700_000_000);
            header.text(tags::SERVER_CORRELATION_VALUE, "8034DA-1\n");
        });
        let (server_time, server_correlation) = (Some(1_700_000_000), Some("8034DA-1 ".to_owned()));
        assert_eq!(read_head(&told), ReplyHead { server_time, server_correlation });
    }

    #[test]
    fn a_head_that_makes_no_sense_is_no_head() {
        for time in [i64::MIN, -1, 253_402_300_800, i64::MAX] {
            assert_eq!(read_head(&reply(|header| header.date_time(tags::TIME_STAMP, time))), ReplyHead::default());
        }
        assert_eq!(read_head(&reply(|header| header.integer(tags::TIME_STAMP, 1))), ReplyHead::default());
        assert_eq!(read_head(b"HTTP/1.1 200 OK"), ReplyHead::default());
    }
}
