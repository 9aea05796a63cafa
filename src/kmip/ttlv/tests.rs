use super::*;

const TAG: Tag = 0x420020;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn written(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::with_capacity(1024);
    fill(&mut writer);
    writer.written().unwrap().to_vec()
}

/// Puts items inside a structure, as every message does.
fn wrapped(items: &[u8]) -> Vec<u8> {
    let mut message = hex("420020 01");
    message.extend((items.len() as u32).to_be_bytes());
    message.extend(items);
    message
}

fn refused(items: &str) -> String {
    match Reader::message(&wrapped(&hex(items)), TAG) {
        Err(Malformed(why)) => why,
        Ok(_) => panic!("accepted {items}"),
    }
}

#[test]
fn the_examples_of_the_standard_are_written_to_the_byte() {
    // KMIP 1.4 §9.1.2.
    assert_eq!(written(|w| w.integer(TAG, 8)), hex("420020 02 00000004 00000008 00000000"));
    assert_eq!(written(|w| w.enumeration(TAG, 255)), hex("420020 05 00000004 000000FF 00000000"));
    assert_eq!(written(|w| w.text(TAG, "Hello World")), hex("420020 07 0000000B 48656C6C6F20576F 726C640000000000"));
    assert_eq!(written(|w| w.bytes(TAG, &[1, 2, 3])), hex("420020 08 00000003 0102030000000000"));
    let structure = written(|w| {
        w.structure(TAG, |w| {
            w.enumeration(0x420004, 254);
            w.integer(0x420005, 255);
        })
    });
    assert_eq!(
        structure,
        hex("420020 01 00000020 420004 05 00000004 000000FE00000000 420005 02 00000004 000000FF00000000")
    );
}

#[test]
fn the_examples_of_the_standard_are_read() {
    let items = hex("420020 02 00000004 00000008 00000000
         420021 05 00000004 000000FF 00000000
         420022 07 0000000B 48656C6C6F20576F 726C640000000000
         420023 08 00000003 0102030000000000
         420024 09 00000008 0000000047DA67F8
         420025 06 00000008 0000000000000001
         420026 0A 00000004 000D2F0000000000
         420027 03 00000008 01B69B4BA5749200
         420028 04 00000010 0000000003FD35EB 6BC2DF4618080000");
    let message = wrapped(&items);
    let reader = Reader::message(&message, TAG).unwrap();
    assert_eq!(reader.require(0x420020).unwrap().integer(), Ok(8));
    assert_eq!(reader.require(0x420021).unwrap().enumeration(), Ok(255));
    assert_eq!(reader.require(0x420022).unwrap().text(), Ok("Hello World"));
    assert_eq!(reader.require(0x420023).unwrap().bytes(), Ok(&[1, 2, 3][..]));
    assert_eq!(reader.require(0x420024).unwrap().date_time(), Ok(1_205_495_800));
    assert_eq!(reader.all(0x420028).count(), 1);
    assert!(reader.find(0x420099).unwrap().is_none());
    assert!(reader.require(0x420099).is_err());
    assert!(reader.require(0x420020).unwrap().text().is_err());
}

#[test]
fn unknown_tags_are_skipped_and_unknown_enumerations_kept() {
    let message = wrapped(&hex("54FFFF 01 00000010 420004 05 00000004 000000FE00000000
         420021 05 00000004 DEADBEEF 00000000"));
    let reader = Reader::message(&message, TAG).unwrap();
    assert_eq!(reader.require(0x420021).unwrap().enumeration(), Ok(0xDEAD_BEEF));
}

#[test]
fn lengths_that_lie_are_refused_wherever_they_are() {
    assert!(refused("420021 08 FFFFFFFF 0102030000000000").contains("4294967295"));
    assert!(refused("420021 08 FFFFFFFE 0102030000000000").contains("are left"));
    assert!(refused("420021 01 FFFFFFF8 0102030000000000").contains("are left"));
    assert!(refused("420021 08 00000009 0102030000000000").contains("are left"));
    assert!(Reader::message(&hex("420020 01 000000"), TAG).is_err_and(|Malformed(why)| why.contains("too few")));
    assert!(refused("420021 01 00000008 420022 02 00000004").contains("are left"));
    let mut trailing = wrapped(&[]);
    trailing.extend([0; 8]);
    assert!(Reader::message(&trailing, TAG).is_err_and(|Malformed(why)| why.contains("follow")));
    assert!(Reader::message(&[], TAG).is_err());
    assert!(Reader::message(&wrapped(&[]), 0x420021).is_err());
}

#[test]
fn types_that_lie_are_refused() {
    for (items, what) in [
        ("420021 02 00000008 0000000000000000", "cannot have length 8"),
        ("420021 03 00000004 0000000000000000", "cannot have length 4"),
        ("420021 05 00000000", "cannot have length 0"),
        ("420021 01 00000004 0000000000000000", "cannot have length 4"),
        ("420021 00 00000000", "does not exist"),
        ("420021 0B 00000008 0000000000000000", "does not exist"),
        ("420021 06 00000008 0000000000000002", "neither 0 nor 1"),
        ("420021 02 00000004 0000000800000001", "padding"),
        ("420021 08 00000003 01020300000000FF", "padding"),
    ] {
        let why = refused(items);
        assert!(why.contains(what), "{items}: {why}");
    }
    let latin = wrapped(&hex("420021 07 00000001 FF00000000000000"));
    assert!(Reader::message(&latin, TAG).unwrap().require(0x420021).unwrap().text().is_err());
}

#[test]
fn nesting_ends_at_its_limit() {
    let nested = |depth: usize| (0..depth).fold(Vec::new(), |inner, _| wrapped(&inner));
    assert!(Reader::message(&nested(MAX_DEPTH), TAG).is_ok());
    for depth in [MAX_DEPTH + 1, 400, 4000] {
        assert!(Reader::message(&nested(depth), TAG).is_err_and(|Malformed(why)| why.contains("deeper")));
    }
}

#[test]
fn a_request_that_does_not_fit_is_refused_and_the_buffer_never_moves() {
    let mut writer = Writer::with_capacity(64);
    let place = writer.buffer.as_ptr();
    writer.structure(TAG, |w| w.text(TAG, "fits"));
    assert!(writer.written().is_ok());
    writer.structure(TAG, |w| w.bytes(TAG, &[7; 64]));
    assert_eq!(writer.written().unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(writer.buffer.as_ptr(), place);
    writer.clear();
    assert_eq!(writer.written().unwrap(), b"");
    assert_eq!(writer.buffer.as_ptr(), place);
}
