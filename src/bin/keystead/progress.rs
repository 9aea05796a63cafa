//! How far long work has come, on a terminal.

#![forbid(unsafe_code)]

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error if that is a terminal. It is gone when the work is.
pub struct Progress(ProgressBar);

impl Progress {
    /// `total` in bytes, where it is known.
    pub fn new(doing: &'static str, total: Option<u64>) -> Progress {
        let (bar, template) = match total {
            Some(total) => {
                (ProgressBar::new(total), "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left")
            }
            None => (ProgressBar::new_spinner(), "{msg} {spinner} {bytes} {bytes_per_sec}"),
        };
        let style = ProgressStyle::with_template(template).expect("the templates above are valid");
        Progress(bar.with_style(style).with_message(doing))
    }

    /// Of work that cannot tell how much it is.
    pub fn waiting(doing: &'static str) -> Progress {
        let style = ProgressStyle::with_template("{msg} {spinner} {elapsed}").expect("the template is valid");
        let bar = ProgressBar::new_spinner().with_style(style).with_message(doing);
        bar.tick();
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress(bar)
    }

    pub fn advance(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
