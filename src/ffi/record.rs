//! Records of the log for a function of the application, over the C ABI.

use std::ffi::{CString, c_char, c_void};

use super::arguments::missing;
use crate::error::Result;
use crate::log::{OnRecord, Severity, Told};

/// Severities of records, which are those of syslog: the lower, the graver.
pub const KEYSTEAD_SEVERITY_ALERT: i32 = 1;

/// An operation failed for good.
pub const KEYSTEAD_SEVERITY_ERROR: i32 = 3;

/// An operation failed, or something is to be done.
pub const KEYSTEAD_SEVERITY_WARNING: i32 = 4;

/// A change of configuration or operation.
pub const KEYSTEAD_SEVERITY_NOTICE: i32 = 5;

/// An operation that succeeded.
pub const KEYSTEAD_SEVERITY_INFO: i32 = 6;

/// What only the level debug shows.
pub const KEYSTEAD_SEVERITY_DEBUG: i32 = 7;

const _: () = assert!(
    Severity::Alert as i32 == KEYSTEAD_SEVERITY_ALERT
        && Severity::Error as i32 == KEYSTEAD_SEVERITY_ERROR
        && Severity::Warning as i32 == KEYSTEAD_SEVERITY_WARNING
        && Severity::Notice as i32 == KEYSTEAD_SEVERITY_NOTICE
        && Severity::Info as i32 == KEYSTEAD_SEVERITY_INFO
        && Severity::Debug as i32 == KEYSTEAD_SEVERITY_DEBUG
);

/// Takes one record of the log: its severity (KEYSTEAD_SEVERITY_*; a caller must be prepared for others), its event
/// (docs/EVENTS.md), and the record itself, record[0..record_len], as one line without line end. A NUL follows both
/// texts. They are valid until the function returns.
///
/// It is called by one thread of the library, one record after the other, in the order of their serials; never in a
/// forked child. It may call any function of this library, also keystead_client_close() and _free() on its client,
/// after which it may be called for another second; a call that is recorded makes a further record. It may take its
/// time: no call of the application waits for it. 8192 records wait for it at most; what finds no room is counted,
/// and the record log.lost tells how many it were. It must return: no exception and no longjmp may leave it.
pub type keystead_on_record = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        severity: i32,
        event: *const c_char,
        record: *const c_char,
        record_len: usize,
    ),
>;

/// Takes back what was given as user_data: nothing of the library uses it any more. Called once, by any thread.
pub type keystead_on_release = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// What the application gave. Dropping it gives `user_data` back.
pub struct Listener {
    pub on_record: keystead_on_record,
    pub on_release: keystead_on_release,
    pub user_data: *mut c_void,
}

// SAFETY: the header tells that the functions are called by a thread of the library.
unsafe impl Send for Listener {}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(on_release) = self.on_release {
            // SAFETY: the application's function, with what it gave for it; once, since this is dropped once.
            unsafe { on_release(self.user_data) };
        }
    }
}

impl Listener {
    pub fn into_function(mut self) -> Result<OnRecord> {
        if self.on_record.is_none() {
            return Err(missing("on_record"));
        }
        // Nobody but the library reaches its copy of the crate `log`, and here somebody asks for what it says.
        #[cfg(all(feature = "c-library", not(test)))]
        crate::log::diagnostics::Diagnostics::install();
        Ok(Box::new(move |told| self.tell(told)))
    }

    fn tell(&mut self, told: Told<'_>) {
        // Lines and events hold no NUL: they show what is invisible.
        if let (Some(on_record), Ok(event), Ok(line)) =
            (self.on_record, CString::new(told.event), CString::new(told.line))
        {
            let length = line.as_bytes().len();
            // SAFETY: the application's function, with what it gave for it and two texts that outlive the call.
            unsafe { on_record(self.user_data, told.severity as i32, event.as_ptr(), line.as_ptr(), length) };
        }
    }
}
