//! A key as a C program gets and uses it: through the exported functions.

#![allow(dead_code)] // Each user takes a part of it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;

use keystead::ffi::client::{keystead_client_create_key, keystead_client_open};
use keystead::ffi::key::{keystead_key, keystead_key_decrypt, keystead_key_encrypt, keystead_key_encrypted_size};
use keystead::ffi::status::KEYSTEAD_OK;

/// It and its client last to the end of the process.
pub struct CKey(*mut keystead_key);

impl CKey {
    pub fn create(config: &Path, name: &str) -> CKey {
        let config = CString::new(config.as_os_str().as_bytes()).unwrap();
        let name = CString::new(name).unwrap();
        let (mut client, mut key) = (null_mut(), null_mut());
        // SAFETY: the texts end with a zero byte, and the places for results are valid.
        unsafe {
            assert_eq!(keystead_client_open(config.as_ptr(), &raw mut client, null_mut()), KEYSTEAD_OK);
            assert_eq!(keystead_client_create_key(client, name.as_ptr(), &raw mut key, null_mut()), KEYSTEAD_OK);
        }
        CKey(key)
    }

    pub fn encrypted_size(&self, n: usize) -> usize {
        // SAFETY: the handle is alive.
        unsafe { keystead_key_encrypted_size(self.0, n) }
    }

    /// Returns the size of the message.
    pub fn encrypt(&self, plaintext: &[u8], aad: &[u8], out: &mut [u8]) -> usize {
        let mut filled = 0;
        // SAFETY: the handle is alive, and the buffers are valid for their lengths and do not overlap.
        let status = unsafe {
            let (out, capacity) = (out.as_mut_ptr(), out.len());
            let (plaintext, n) = (plaintext.as_ptr(), plaintext.len());
            keystead_key_encrypt(
                self.0,
                plaintext,
                n,
                aad.as_ptr(),
                aad.len(),
                out,
                capacity,
                &raw mut filled,
                null_mut(),
            )
        };
        assert_eq!(status, KEYSTEAD_OK);
        filled
    }

    /// Returns the size of the plaintext.
    pub fn decrypt(&self, message: &[u8], aad: &[u8], out: &mut [u8]) -> usize {
        let mut filled = 0;
        // SAFETY: as above.
        let status = unsafe {
            let (out, capacity) = (out.as_mut_ptr(), out.len());
            let (message, n) = (message.as_ptr(), message.len());
            keystead_key_decrypt(
                self.0,
                message,
                n,
                aad.as_ptr(),
                aad.len(),
                out,
                capacity,
                &raw mut filled,
                null_mut(),
            )
        };
        assert_eq!(status, KEYSTEAD_OK);
        filled
    }
}
