//! The C surface: convert in, call one method, convert out.
