//! The architecture, held by a test: a layer names only layers above it, and `unsafe` stays where it belongs.

use std::fs;
use std::path::{Path, PathBuf};

/// From the top down. A layer may name itself and those before it.
const LAYERS: [&str; 12] =
    ["error", "platform", "memory", "config", "log", "audit", "envelope", "kmip", "cluster", "keys", "client", "ffi"];
/// The layers that may hold `unsafe`. The root module of every other one forbids it, for its submodules too.
const UNSAFE_LAYERS: [&str; 3] = ["platform", "memory", "ffi"];

#[test]
fn a_layer_names_only_layers_above_it_and_unsafe_stays_in_three() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > LAYERS.len(), "only {} files were found", files.len());
    let faults: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let source = fs::read_to_string(file).expect("a readable source file");
            faults(file.strip_prefix(&root).expect("it was found there"), &source)
        })
        .collect();
    assert!(faults.is_empty(), "the layers are {LAYERS:?}, and:\n{}", faults.join("\n"));
}

#[test]
fn a_lower_layer_is_noticed_however_it_is_named() {
    for source in [
        "use crate::client::Client;",
        "use crate::{error::Error, client::Client};",
        "use crate::{\n    error::{Code, Error},\n    client,\n};",
        "fn f() { crate::client::g() }",
        "fn f() -> Option<super::super::client::Client> { None }",
        "mod tests { use super::super::super::client; }",
        "use super::super::{error, client};",
    ] {
        let found = faults(Path::new("kmip/wire.rs"), source);
        assert_eq!(found, ["src/kmip/wire.rs: kmip names client, a layer below it"], "{source}");
    }
    assert_eq!(faults(Path::new("audit.rs"), &format!("{FORBID} use super::cluster;")).len(), 1);
    assert_eq!(faults(Path::new("kmip/wire.rs"), "use crate::Client;").len(), 1, "a name without its layer");
}

#[test]
fn what_is_above_or_beside_or_only_spoken_of_is_no_fault() {
    for source in [
        "use crate::{error::{Code, client}, memory};",
        "use super::wire; use super::client;",
        "mod tests { use super::*; use super::super::client; }",
        "// crate::client\n/* crate::client /* unsafe */ crate::ffi */",
        r##"const A: &str = "crate::client \" unsafe"; const B: &str = r#"unsafe " crate::ffi"#; const C: char = '"';"##,
        "fn f<'a>(a: &'a str) -> char { '\\'' }",
    ] {
        assert_eq!(faults(Path::new("kmip/wire.rs"), source), [""; 0], "{source}");
    }
}

#[test]
fn unsafe_outside_its_layers_is_noticed() {
    let source = "fn f() { unsafe { g() } }";
    assert_eq!(faults(Path::new("kmip/wire.rs"), source).len(), 1);
    assert_eq!(faults(Path::new("bin/keystead/keys.rs"), source).len(), 1);
    assert_eq!(faults(Path::new("memory/slot.rs"), source).len(), 0);
    assert_eq!(faults(Path::new("kmip/mod.rs"), "").len(), 1, "nothing forbids it");
    assert_eq!(faults(Path::new("kmip/mod.rs"), &format!("//! A layer.\n{FORBID}")).len(), 0);
}

const FORBID: &str = "#![forbid(unsafe_code)]";

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// What is wrong with one file, given by its path below `src`.
fn faults(path: &Path, source: &str) -> Vec<String> {
    let modules = module_path(path);
    let layer = modules.first().map_or("lib", String::as_str);
    let tokens = tokens(source);
    let mut faults = Vec::new();
    if let Some(own) = rank(layer) {
        for name in crate_names(&tokens, modules.len()) {
            match rank(&name) {
                Some(other) if other <= own => {}
                Some(_) => faults.push(format!("{layer} names {name}, a layer below it")),
                None => faults.push(format!("{layer} names crate::{name} without the layer it comes from")),
            }
        }
    }
    if !UNSAFE_LAYERS.contains(&layer) {
        if tokens.iter().any(|token| token == "unsafe") {
            faults.push(format!("unsafe outside {UNSAFE_LAYERS:?}"));
        }
        let is_root = modules.len() == 1 && layer != "lib" || path.ends_with("main.rs");
        if is_root && !source.contains(FORBID) {
            faults.push(format!("{FORBID} is missing"));
        }
    }
    faults.into_iter().map(|fault| format!("src/{}: {fault}", path.display())).collect()
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|name| *name == layer)
}

/// `kmip/wire.rs` is `["kmip", "wire"]`, `kmip/mod.rs` is `["kmip"]`, `lib.rs` is `[]`.
fn module_path(path: &Path) -> Vec<String> {
    let mut modules: Vec<String> =
        path.with_extension("").iter().map(|part| part.to_str().expect("UTF-8").to_owned()).collect();
    if modules.last().is_some_and(|last| last == "mod" || last == "lib") {
        modules.pop();
    }
    modules
}

/// The first names of all paths that start at the crate's root, by `crate` or by enough `super`s.
fn crate_names(tokens: &[String], file_depth: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut inline_modules = Vec::new(); // The depth in braces at which each was opened.
    let mut braces = 0;
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => {
                braces += 1;
                if at >= 2 && tokens[at - 2] == "mod" {
                    inline_modules.push(braces);
                }
            }
            "}" => {
                if inline_modules.last() == Some(&braces) {
                    inline_modules.pop();
                }
                braces -= 1;
            }
            // `pub(crate)` has no `::` behind it, and neither has the end of `use crate;`.
            "crate" => names.extend(first_names(&tokens[at + 1..])),
            "super" => {
                let mut supers = 1;
                while tokens.get(at + 1).is_some_and(|t| t == "::") && tokens.get(at + 2).is_some_and(|t| t == "super")
                {
                    supers += 1;
                    at += 2;
                }
                if supers == file_depth + inline_modules.len() {
                    names.extend(first_names(&tokens[at + 1..]));
                }
            }
            _ => {}
        }
        at += 1;
    }
    names
}

/// Of the tokens after a path's start: `:: a :: b` gives `a`, `:: { a :: { b , c } , d }` gives `a` and `d`.
fn first_names(tokens: &[String]) -> Vec<String> {
    match tokens {
        [colons, brace, rest @ ..] if colons == "::" && brace == "{" => {
            let mut names = Vec::new();
            let (mut depth, mut is_first) = (1, true);
            for token in rest {
                match token.as_str() {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    "," if depth == 1 => is_first = true,
                    _ if is_first => {
                        names.push(token.clone());
                        is_first = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            names
        }
        [colons, name, ..] if colons == "::" => vec![name.clone()],
        _ => Vec::new(),
    }
}

/// Identifiers, `::` and single characters; comments, texts, characters and lifetimes are left out.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment_length(rest)
        } else if let Some(length) = raw_text_length(rest) {
            length
        } else if first == '"' {
            quoted_length(rest, '"')
        } else if first == '\'' {
            character_length(rest)
        } else if first.is_alphanumeric() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else {
            let length = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            if !first.is_whitespace() {
                tokens.push(rest[..length].to_owned());
            }
            length
        };
        rest = &rest[length..];
    }
    tokens
}

/// Of a comment that may hold comments.
fn comment_length(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Of `r"…"`, `r#"…"#`, `br"…"`, where one starts here.
fn raw_text_length(rest: &str) -> Option<usize> {
    let start = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r')?;
    let text = start.trim_start_matches('#');
    let hashes = start.len() - text.len();
    let body = text.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(rest.len() - body.len() + body.find(&end)? + end.len())
}

/// Of a text or character with its quotes.
fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Of a character, or of the quote alone where it starts a lifetime.
fn character_length(rest: &str) -> usize {
    let mut characters = rest.chars().skip(1);
    match (characters.next(), characters.next()) {
        (Some('\\'), _) | (_, Some('\'')) => quoted_length(rest, '\''),
        _ => 1,
    }
}
