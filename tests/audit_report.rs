//! What `keystead audit report` promises: a page whose figures are those of the trail, and that needs and loads nothing else.

#[path = "common/programs.rs"]
mod programs;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keystead::audit::{AuditTrail, Row};
use keystead::config::Audit;
use keystead::log::{Anchor, AuditorPrivateKey};

/// The columns that a report needs.
const HEADER: &str =
    "operation,key_server,ip_address,port,key_name,date,time,user,result,key_version,result_reason,result_message\r\n";

fn report(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_keystead")).args(["audit", "report"]).args(arguments).output().unwrap()
}

fn page(file: &Path) -> String {
    let output = report(&[file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = report(&[&["--json"], arguments].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// Names that would become part of a page that did not mind them, and have a browser ask for `url`.
fn hostile(url: &str) -> Vec<String> {
    vec![
        format!("<img src={url}>"),
        format!("\"><script src=\"{url}\"></script>"),
        format!("</table></style><link rel=stylesheet href='{url}'>"),
        format!("&lt;img src={url}&gt;"),
        format!("--></title></svg><iframe src={url}></iframe>\u{202e}"),
    ]
}

/// A trail of 61 operations, 11 of which failed, and a failover.
fn trail(path: &Path, names: &[String]) {
    let trail = AuditTrail::open(path).unwrap();
    let row = |operation: &str, key_server: &str, key_name: &str, result_reason: &str| {
        trail.append(&Row {
            operation,
            key_server,
            port: 5696,
            key_name,
            user: "orders-api",
            succeeded: result_reason.is_empty(),
            key_version: Some(2),
            result_reason,
            ..Row::default()
        });
    };
    row("Create", "kms1.example.com", "orders", "");
    row("Get", "kms1.example.com", "orders", "unreachable");
    row("Get", "kms2.example.com", "orders", "");
    for n in 0..48 {
        row("Locate", "kms1.example.com", &format!("customer-{}", n % 20), "");
    }
    for _ in 0..2 {
        for name in names {
            row("Get", "kms1.example.com", name, "permission denied");
        }
    }
}

#[test]
fn the_figures_are_those_of_the_trail() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.csv");
    trail(&file, &hostile("http://127.0.0.1:9/"));
    let name = file.to_str().unwrap();
    let told = json(&[name]);
    assert_eq!(told["operations"], serde_json::json!({"success": 50, "failure": 11}));
    assert_eq!(told["by_server"]["kms1.example.com:5696"], serde_json::json!({"success": 49, "failure": 11}));
    assert_eq!(told["by_operation"]["Locate"], serde_json::json!({"success": 48, "failure": 0}));
    assert_eq!(told["by_key"]["customer-3"]["success"], 3);
    assert_eq!((&told["by_key"]["orders"]["version"], &told["by_key"]["orders"]["rotations"]), (&2.into(), &1.into()));
    assert_eq!(told["by_key"].as_object().unwrap().len(), 26);
    assert_eq!(told["reasons"]["permission denied"]["failure"], 10);
    assert_eq!(
        (&told["failovers"]["count"], &told["failovers"]["last"][0]["to"]),
        (&1.into(), &"kms2.example.com:5696".into())
    );
    let bars: u64 =
        told["over_time"]["bars"].as_object().unwrap().values().map(|bar| bar["success"].as_u64().unwrap()).sum();
    assert_eq!((bars, &told["unreadable"]), (50, &0.into()));
    assert_eq!(told["verification"]["findings"], serde_json::json!([]));

    let page = page(&file);
    for (id, value) in [("operations", "61"), ("failures", "11"), ("failovers", "1"), ("keys", "26"), ("due", "0")] {
        assert!(page.contains(&format!("<dd id=\"{id}\">{value}</dd>")), "{id} is not {value}");
    }
    assert!(page.contains("id=\"verdict\">Chain intact<"));

    let mut bytes = std::fs::read(&file).unwrap();
    let place = bytes.windows(6).position(|part| part == b"orders").unwrap();
    bytes[place] = b'0';
    std::fs::write(&file, bytes).unwrap();
    let page = self::page(&file);
    assert!(page.contains("id=\"verdict\">Chain NOT intact<") && page.contains("altered"), "an altered row is told of");
}

/// They stand between what happened, every thousandth row and at least every half minute.
#[test]
fn seals_are_neither_operations_nor_notices() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.csv");
    let auditor_key = Some(AuditorPrivateKey::generate().unwrap().public());
    let (rotation, durability) = Default::default();
    let trail = AuditTrail::open_as(&Audit { file: file.clone(), rotation, durability, auditor_key }).unwrap();
    for number in 0..3 {
        let key_server = "kms1.example.com";
        trail.append(&Row { operation: "Get", key_server, port: 5696, succeeded: number != 1, ..Row::default() });
        assert!(trail.flush(Duration::from_secs(20)));
    }
    let told = json(&[file.to_str().unwrap()]);
    assert_eq!(told["operations"], serde_json::json!({"success": 2, "failure": 1}));
    assert_eq!((&told["notices"]["count"], &told["seals"]), (&0.into(), &4.into()));
    assert_eq!(told["verification"]["streams"][0]["checkpoints"], 3);
}

/// The page's command, over what logrotate with `compress` and seals leave beside a trail.
#[test]
fn the_page_on_operations_makes_a_report_that_says_how_far_it_is_proven() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let auditor = AuditorPrivateKey::generate().unwrap();
    std::fs::write(path("auditor.key"), auditor.to_pem().unwrap()).unwrap();
    let (rotation, durability) = Default::default();
    let config = Audit { file: path("audit.csv"), rotation, durability, auditor_key: Some(auditor.public()) };
    let trail = AuditTrail::open_as(&config).unwrap();
    for version in 1..=3 {
        let (operation, key_server, key_version) = ("Create", "kms1", Some(version));
        trail.append(&Row {
            operation,
            key_server,
            port: 5696,
            key_name: "orders",
            key_version,
            succeeded: true,
            ..Row::default()
        });
        assert!(trail.flush(Duration::from_secs(20)));
        // logrotate's newest has the smallest number, so a pattern names them out of order.
        if version < 3 {
            std::fs::rename(path("audit.csv"), path(&format!("audit.csv.{}", 3 - version))).unwrap();
        }
    }
    assert!(Command::new("gzip").arg(path("audit.csv.2")).status().unwrap().success());
    let anchor = Anchor::of(&path("audit.csv")).unwrap().to_string();
    std::fs::write(path("anchors"), anchor).unwrap();

    let tool = env!("CARGO_BIN_EXE_keystead");
    let command = programs::command("keystead audit report");
    let command = command.replace("/var/log/keystead", folder.path().to_str().unwrap()).replacen("keystead", tool, 1);
    let run = |options: &str| {
        let command = command.replacen(" report ", &format!(" report {options} "), 1);
        let output = Command::new("sh").arg("-c").arg(&command).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        std::fs::read_to_string(path("report.html")).unwrap()
    };
    let page = run("");
    assert!(page.contains("id=\"operations\">3<") && page.contains("<dd id=\"keys\">1</dd>"), "{page}");
    assert!(page.contains("id=\"verdict\">Chain intact, seals not verified<"), "{page}");
    assert!(
        page.contains("seals are not verified") && page.contains("tail unproven") && !page.contains("none was"),
        "{page}"
    );
    let page = run("--auditor-key auditor.key --anchor anchors");
    assert!(page.contains("id=\"verdict\">Chain intact<"), "{page}");
    assert!(page.contains("sealed up to ") && page.contains("complete: an anchor proves the last record"), "{page}");

    // Without rows nothing is intact.
    drop(AuditTrail::open(&path("none.csv")).unwrap());
    assert!(self::page(&path("none.csv")).contains("id=\"verdict\">Chain NOT intact<"));
}

#[test]
fn what_is_old_is_due_and_rotated_files_are_one_trail() {
    let folder = tempfile::tempdir().unwrap();
    let row = |name: &str, version: u32, date: &str| {
        format!("Create,kms1,,5696,{name},{date},10:00:00,me,success,{version},,\r\n")
    };
    let older = folder.path().join("audit.csv.1");
    let rows = [row("orders", 1, "2020-01-01"), row("invoices", 1, "2020-01-01"), "no row at all\r\n".into()];
    std::fs::write(&older, format!("{HEADER}{}", rows.concat())).unwrap();
    let newer = folder.path().join("audit.csv");
    std::fs::write(&newer, format!("{HEADER}{}", row("orders", 2, "2100-01-01"))).unwrap();
    let told = json(&[older.to_str().unwrap(), newer.to_str().unwrap()]);
    assert_eq!((&told["operations"]["success"], &told["unreadable"]), (&3.into(), &1.into()));
    assert_eq!((&told["by_key"]["orders"]["version"], &told["by_key"]["orders"]["rotations"]), (&2.into(), &1.into()));
    let output = report(&[older.to_str().unwrap(), newer.to_str().unwrap()]);
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(
        page.contains("<dd id=\"due\">1</dd>")
            && page.contains("<th scope=\"row\"><bdi>invoices</bdi></th><td>2020-01-01 10:00</td>")
    );
    let output = report(&[older.to_str().unwrap(), "--rotate-after", "99999"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("<dd id=\"due\">0</dd>"));

    let other = folder.path().join("other.csv");
    std::fs::write(&other, "name,age\r\nAda,36\r\n").unwrap();
    let output = report(&[other.to_str().unwrap(), "-o", folder.path().join("out.html").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not an audit trail"));
    assert!(!folder.path().join("out.html").exists());
}

/// What a browser makes of a page, and its picture. Whatever other machine it asks for, it is led to `port` of this one.
fn render(browser: &Path, page: &Path, folder: &Path, port: u16) -> (String, Vec<u8>) {
    let picture = folder.join("page.png");
    let run = |what: &str| {
        let mut command = Command::new(browser);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--timeout=20000"]);
        // What browsers ask their makers is not the page's.
        let own =
            ["google.com", "googleapis.com", "gstatic.com", "gvt1.com"].map(|host| format!("MAP *.{host} ~NOTFOUND"));
        command.arg(format!("--host-resolver-rules={}, MAP * 127.0.0.1:{port}", own.join(", ")));
        command.arg(format!("--user-data-dir={}", folder.join("profile").display())).arg(what);
        let output = command.arg(format!("file://{}", page.display())).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let dom = run("--dump-dom");
    run(&format!("--screenshot={}", picture.display()));
    (dom, std::fs::read(picture).unwrap())
}

/// The figures of the page, as a browser shows it, and of the JSON are those of the trail, as another program reads all three.
fn compare(trail: &Path, dom: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = std::env::var_os("KEYSTEAD_PYTHON").map_or(root.join("build/venv/bin/python"), PathBuf::from);
    let told = trail.with_extension("json");
    std::fs::write(&told, json(&[trail.to_str().unwrap()]).to_string()).unwrap();
    let mut command = Command::new(python);
    let output = command.arg(root.join("tests/report/figures.py")).arg(trail).arg(dom).arg(told).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Answers whoever connects with nothing, for as long as the test runs, and counts them.
fn count_visitors(listener: TcpListener) -> Arc<AtomicUsize> {
    let visitors = Arc::new(AtomicUsize::new(0));
    let count = visitors.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    visitors
}

#[test]
fn a_browser_shows_the_page_and_asks_for_nothing_else_whatever_the_names_in_it() {
    let Some(browser) = programs::program("chromium") else { return };
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let visitors = count_visitors(listener);
    let names = hostile("https://elsewhere.example/");

    // A page that does not mind them: the listener hears of it.
    let control = folder.path().join("control.html");
    std::fs::write(&control, format!("<!doctype html><title>control</title>{}", names.concat())).unwrap();
    render(&browser, &control, folder.path(), port);
    assert!(visitors.swap(0, Ordering::SeqCst) > 0, "the control asked for nothing, so this test proves nothing");

    let file = folder.path().join("audit.csv");
    trail(&file, &names);
    let html = folder.path().join("report.html");
    assert!(report(&[file.to_str().unwrap(), "-o", html.to_str().unwrap()]).status.success());
    let (dom, picture) = render(&browser, &html, folder.path(), port);
    assert_eq!(visitors.load(Ordering::SeqCst), 0, "the page had the browser ask for something");
    let rendered = folder.path().join("dom.html");
    std::fs::write(&rendered, &dom).unwrap();
    compare(&file, &rendered);
    for element in ["<script", "<img", "<iframe", "<link", "<object", "<base"] {
        assert!(!dom.contains(element), "{element} is an element of the page");
    }
    assert!(dom.contains("&lt;img src=http"), "a hostile name is shown as it is");
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "nothing is to be seen");
}

/// A trail of the last three years: keys that are rotated and some that are not, servers that cannot be reached or refuse, and
/// rows that the trail wrote of itself. Its numbers look random and are always the same.
fn years_of_trail(path: &Path) {
    let mut state = 1_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let reasons = ["unreachable", "deadline", "connection lost", "permission denied", "item not found", ""];
    let mut text = String::from(HEADER);
    // Every fifth key is older than the trail.
    let mut versions: [u64; 40] = std::array::from_fn(|key| u64::from(key.is_multiple_of(5)));
    // No key comes of age within hours of now.
    let begin = keystead::config::now() / 60 * 60 - 1100 * 86_400 + 43_200;
    let moment = |seconds: u64| keystead::log::utc(begin + seconds as i64)[..19].replace([' ', 'T'], ",");
    for day in 0..1098 {
        for hour in 0..below(4) {
            let key = below(40) as usize;
            let is_new = versions[key] == 0 || (!key.is_multiple_of(3) && below(20) == 0);
            versions[key] += u64::from(is_new);
            let operation = if is_new { "Create" } else { ["Get", "Locate"][below(2) as usize] };
            let (minute, user) = (below(60), ["orders", "<b>billing</b>", ""][below(3) as usize]);
            let failures = if below(4) == 0 { 1 + below(3) } else { 0 };
            let mut row = |server: u64, end: String| {
                let name = format!("\"key, \"\"{key}\"\"\"");
                let moment = moment(day * 86_400 + hour * 3600 + minute * 60 + server);
                text += &format!("{operation},kms{server}.example.com,,5696,{name},{moment},{user},{end},\r\n");
            };
            let reason = reasons[(day as usize + key) % reasons.len()];
            (0..failures).for_each(|server| row(server, format!("failure,,{reason}")));
            if failures < 3 {
                row(failures, format!("success,{},", versions[key]));
            }
        }
        if day % 50 == 7 {
            text += &format!("log.lost,,,,,{},,failure,,,count {day}\r\n", moment(day * 86_400 + 18_000));
        }
    }
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_browser_shows_every_bar_failover_and_rotation_that_the_trail_has() {
    let Some(browser) = programs::program("chromium") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (file, html, rendered) =
        (folder.path().join("audit.csv"), folder.path().join("report.html"), folder.path().join("dom.html"));
    years_of_trail(&file);
    assert!(report(&[file.to_str().unwrap(), "-o", html.to_str().unwrap()]).status.success());
    let (dom, _) = render(&browser, &html, folder.path(), 9);
    std::fs::write(&rendered, dom).unwrap();
    compare(&file, &rendered);
}
