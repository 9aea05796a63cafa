//! Keys that are not used, whatever the key server says: of another algorithm or length, a part of a split key, made by
//! hand, or another tenant's.
//!
//! Each refusal is recorded in the log and, as it concerns an operation on a key, in the audit trail.

#![forbid(unsafe_code)]

use super::Keys;
use super::lookup::Found;
use super::tenants::Possession;
use crate::config::Policy;
use crate::envelope::KeyId;
use crate::error::{Code, Error, Result};
use crate::kmip::{Algorithm, ObjectType};

/// What a refusal is about.
pub(super) struct Object<'a> {
    pub id: &'a KeyId,
    pub identifier: &'a str,
    /// The number of the server that has it.
    pub server: usize,
}

impl Object<'_> {
    pub fn of(found: &Found) -> Object<'_> {
        Object { id: &found.id, identifier: &found.identifier, server: found.server }
    }
}

impl Keys {
    /// What a server says of an object must be that of a key that we use.
    pub(super) fn check_kind(&self, found: &Found) -> Result<()> {
        kind_fault(found).map_or(Ok(()), |fault| Err(self.refused(&Object::of(found), fault)))
    }

    /// The bytes of a key must look like those of a random generator.
    pub(super) fn check_material(&self, object: &Object<'_>, material: &[u8; 32]) -> Result<()> {
        if !looks_made_by_hand(material) {
            return Ok(());
        }
        let message = format!(
            "the bytes of key {} on the key server are printable or repeat themselves, so they were not made by a \
             random generator; create the key anew on the key server",
            object.id
        );
        self.prohibited(object, Error::new(Code::KeyWeak, message))
    }

    /// An object that another tenant of this process uses is not ours.
    pub(super) fn check_tenant(&self, found: &Found) -> Result<()> {
        let server = self.cluster.server(found.server).name();
        match self.tenancy.take(Possession::object(&server, &found.identifier)) {
            Ok(()) => Ok(()),
            Err(other) => {
                let message = format!(
                    "key {} is object {:?}, which the client {other:?} of this process uses as well; give each tenant keys \
                     and a key server identity of its own",
                    found.id, found.identifier
                );
                self.prohibited(&Object::of(found), Error::new(Code::KeyShared, message))
            }
        }
    }

    /// What the policy `strict` refuses and `relaxed` only records.
    fn prohibited(&self, object: &Object<'_>, fault: Error) -> Result<()> {
        match self.policy {
            Policy::Strict => Err(self.refused(object, fault)),
            Policy::Relaxed => {
                let message = format!("{}; under the policy relaxed it is used", fault.message());
                let _recorded = self.refused(object, Error::new(fault.code(), message));
                Ok(())
            }
        }
    }

    /// Records why a key is not used.
    fn refused(&self, object: &Object<'_>, fault: Error) -> Error {
        let server = self.cluster.server(object.server);
        self.cluster.journal().refusal(&server, object.id, object.identifier, &fault);
        fault
    }
}

/// Why an object is no key that we use.
fn kind_fault(found: &Found) -> Option<Error> {
    if found.object_type == Some(ObjectType::SPLIT_KEY) {
        let message = format!(
            "key {} on the key server is a part of a split key, and keys are not put together here; create a whole key \
             under another name",
            found.id
        );
        return Some(Error::new(Code::KeySplit, message));
    }
    if found.algorithm == Some(Algorithm::AES) && found.length_bits == Some(256) {
        return None;
    }
    let message = format!(
        "key {} on the key server is of algorithm {} with {} bits, and only AES with 256 bits is used, \
         whatever the configuration says; create a key under another name",
        found.id,
        found.algorithm.map_or("unknown".into(), |algorithm| algorithm.to_string()),
        found.length_bits.map_or("unknown".into(), |bits| bits.to_string())
    );
    Some(Error::new(Code::AlgorithmRefused, message))
}

/// A random generator makes 32 printable bytes once in 10^13, and fewer than 8 different ones never.
fn looks_made_by_hand(material: &[u8; 32]) -> bool {
    let mut seen = zeroize::Zeroizing::new([false; 256]);
    material.iter().for_each(|&byte| seen[usize::from(byte)] = true);
    let distinct = seen.iter().filter(|&&seen| seen).count();
    distinct < 8 || material.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::lookup::tests::found;
    use crate::kmip::State;

    #[test]
    fn key_bytes_that_people_type_or_programs_fill_in_are_noticed() {
        assert!(looks_made_by_hand(b"correct horse battery staple 123"));
        assert!(looks_made_by_hand(&[0; 32]));
        assert!(looks_made_by_hand(&[0xAA; 32]));
        let random: [u8; 32] = ring::digest::digest(&ring::digest::SHA256, b"x").as_ref().try_into().unwrap();
        assert!(!looks_made_by_hand(&random));
    }

    #[test]
    fn only_whole_aes_256_keys_are_used_and_the_others_are_named() {
        let of = |algorithm, bits| Found {
            algorithm: Some(Algorithm(algorithm)),
            length_bits: Some(bits),
            ..found("a/1", State::Active)
        };
        assert!(kind_fault(&of(3, 256)).is_none());
        for (algorithm, bits, name) in
            [(2, 192, "3DES"), (0x10, 256, "Blowfish"), (0x19, 256, "Twofish"), (3, 128, "AES"), (3, 192, "AES")]
        {
            let fault = kind_fault(&of(algorithm, bits)).unwrap();
            assert_eq!(fault.code(), Code::AlgorithmRefused);
            assert!(fault.message().contains(name) && fault.message().contains(&bits.to_string()), "{fault}");
        }
        let part = Found { object_type: Some(ObjectType::SPLIT_KEY), ..of(3, 256) };
        assert_eq!(kind_fault(&part).unwrap().code(), Code::KeySplit);
        let unknown = Found { algorithm: None, length_bits: None, ..of(3, 256) };
        assert_eq!(kind_fault(&unknown).unwrap().code(), Code::AlgorithmRefused);
    }
}
