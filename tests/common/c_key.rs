//! A key as a C program gets and uses it: through the exported functions.

#![allow(dead_code)] // Each user takes a part of it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null_mut;

use keystead::ffi::client::{keystead_client_create_key, keystead_client_open};
use keystead::ffi::error::keystead_error;
use keystead::ffi::key::{keystead_key, keystead_key_decrypt, keystead_key_encrypt, keystead_key_encrypted_size};
use keystead::ffi::status::{KEYSTEAD_OK, keystead_status};

type Transform = unsafe extern "C" fn(
    *const keystead_key,
    *const u8,
    usize,
    *const u8,
    usize,
    *mut u8,
    usize,
    *mut usize,
    *mut *mut keystead_error,
) -> keystead_status;

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
        self.transform(keystead_key_encrypt, plaintext, aad, out)
    }

    /// Returns the size of the plaintext.
    pub fn decrypt(&self, message: &[u8], aad: &[u8], out: &mut [u8]) -> usize {
        self.transform(keystead_key_decrypt, message, aad, out)
    }

    #[inline(always)]
    fn transform(&self, function: Transform, data: &[u8], aad: &[u8], out: &mut [u8]) -> usize {
        let (data, n, aad, aad_len) = (data.as_ptr(), data.len(), aad.as_ptr(), aad.len());
        let (out, capacity, mut filled) = (out.as_mut_ptr(), out.len(), 0);
        // SAFETY: the handle is alive, and the buffers are valid for their lengths and do not overlap.
        let status = unsafe { function(self.0, data, n, aad, aad_len, out, capacity, &raw mut filled, null_mut()) };
        assert_eq!(status, KEYSTEAD_OK);
        filled
    }
}
