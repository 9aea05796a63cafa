//! What a configuration may say, and what is refused of it, with file, line and remedy.

mod accepted;
mod auditor;
mod certificates;
mod files;
mod policy;
mod protected;
mod references;
mod refusals;
mod site;
mod text;
