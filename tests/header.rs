//! `include/keystead.h` says what `src/ffi` exports.

use std::path::Path;

#[test]
fn the_committed_header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut generated = Vec::new();
    [
        "status",
        "error",
        "bytes",
        "record",
        "client",
        "kek",
        "space",
        "lifecycle",
        "key",
        "message",
        "stream",
        "batch",
        "verify",
    ]
    .iter()
    .fold(cbindgen::Builder::new().with_config(config), |builder, file| {
        builder.with_src(root.join(format!("src/ffi/{file}.rs")))
    })
    .generate()
    .unwrap()
    .write(&mut generated);
    let header = root.join("include/keystead.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&header, &generated).unwrap();
    }
    let committed = std::fs::read(&header).unwrap_or_default();
    assert!(committed == generated, "include/keystead.h is stale: UPDATE_HEADER=1 cargo test --test header");
}
