//! The report as one page that needs nothing else: no script, nothing loaded, drawings inline.

use std::fmt::Write;

use keystead::client::WithheldObject;
use keystead::log::utc;

use super::plot;
use super::summary::{Count, KeyFacts, Summary, Table};
use super::{Evidence, Report};

/// So many rows of a table are shown.
const SHOWN: usize = 15;
const DAY: i64 = 86_400;

pub fn page(report: &Report) -> String {
    let mut page = Page(String::with_capacity(1 << 16));
    page.head();
    page.opening(report);
    page.over_time(&report.summary);
    page.counts("By key server", "Key server", &report.summary.by_server);
    page.keys(&report.summary);
    page.counts("By operation", "Operation", &report.summary.by_operation);
    page.counts("By user", "User", &report.summary.by_user);
    page.reasons(&report.summary);
    page.failovers(&report.summary);
    page.rotations(report);
    if let Some(evidence) = &report.key_servers {
        page.on_the_servers(evidence, report);
    }
    page.notices(&report.summary);
    page.chain(report);
    page.push("</main>\n</body>\n</html>\n");
    page.0
}

struct Page(String);

impl Page {
    fn push(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn head(&mut self) {
        self.push(concat!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
            "<meta name=\"color-scheme\" content=\"light dark\">\n<title>Audit report</title>\n<style>\n",
            include_str!("page.css"),
            "</style>\n</head>\n<body>\n<main>\n"
        ));
    }

    fn opening(&mut self, report: &Report) {
        let summary = &report.summary;
        let period = match (summary.first, summary.last) {
            (Some(first), Some(last)) => format!("{} to {}", minute(first), minute(last)),
            _ => "No operation is recorded.".into(),
        };
        let (seal, verdict) = match report.verification.is_intact() {
            true if report.has_unverified_seals() => ("good", "Chain intact, seals not verified"),
            true => ("good", "Chain intact"),
            false => ("bad", "Chain NOT intact"),
        };
        let files: Vec<String> = report.verification.files.iter().map(|file| escaped(file)).collect();
        let _ = write!(
            self.0,
            "<header>\n<p class=\"mark\">Keystead</p>\n<h1>Audit report</h1>\n<p class=\"period\">{period}, UTC</p>\n\
             <p class=\"seal {seal}\" id=\"verdict\">{verdict}</p>\n<p class=\"files\">From {}. Made {}.</p>\n</header>\n",
            files.join(", "),
            minute(report.made),
        );
        let due = report.due().count() as u64;
        self.push("<dl class=\"tiles\">\n");
        self.tile("operations", "Operations", summary.operations.all(), false);
        self.tile("failures", "Failures", summary.operations.failure, true);
        self.tile("failovers", "Failovers", summary.failovers.count, true);
        self.tile("keys", "Keys", summary.by_key.len() as u64, false);
        self.tile("due", "Rotations due", due, true);
        self.push("</dl>\n");
    }

    fn tile(&mut self, id: &str, name: &str, value: u64, is_bad: bool) {
        let class = if is_bad && value > 0 { " class=\"warn\"" } else { "" };
        let value = grouped(value);
        let _ = writeln!(self.0, "<div{class}><dt>{name}</dt><dd id=\"{id}\">{value}</dd></div>");
    }

    fn section(&mut self, title: &str) {
        let _ = writeln!(self.0, "<section>\n<h2>{title}</h2>");
    }

    fn over_time(&mut self, summary: &Summary) {
        if summary.over_time.bars.is_empty() {
            return;
        }
        self.section("Over time");
        self.push(&plot::timeline(&summary.over_time));
        self.push(plot::LEGEND);
        self.push("<details>\n<summary>The same in figures</summary>\n");
        self.table(&["From (UTC)", "#Succeeded", "#Failed"]);
        for (start, count) in &summary.over_time.bars {
            self.row(&[minute(*start), grouped(count.success), grouped(count.failure)]);
        }
        self.push("</tbody></table>\n</details>\n</section>\n");
    }

    fn counts(&mut self, title: &str, name: &str, table: &Table<Count>) {
        if table.len() == 0 {
            return;
        }
        self.section(title);
        self.table(&[name, "", "#Operations", "#Failed"]);
        let rows = table.largest(SHOWN, |count| count.all());
        let most = rows.first().map_or(0, |(_, count)| count.all());
        for (name, count) in rows {
            self.counted(name, *count, most);
        }
        self.push("</tbody></table>\n");
        self.more(table.len(), table.others.is_some());
        self.push("</section>\n");
    }

    fn counted(&mut self, name: &str, count: Count, most: u64) {
        self.row(&[name_of(name), plot::bar(count, most), grouped(count.all()), grouped(count.failure)]);
    }

    fn keys(&mut self, summary: &Summary) {
        let table = &summary.by_key;
        if table.len() == 0 {
            return;
        }
        self.section("By key");
        self.table(&["Key", "", "#Operations", "#Failed", "#Newest version", "#Rotations"]);
        let rows = table.largest(SHOWN, |facts| facts.count.all());
        let most = rows.first().map_or(0, |(_, facts)| facts.count.all());
        for (name, facts) in rows {
            let version = if facts.version == 0 { "–".into() } else { facts.version.to_string() };
            let count = facts.count;
            let bar = plot::bar(count, most);
            let (all, failed) = (grouped(count.all()), grouped(count.failure));
            self.row(&[name_of(name), bar, all, failed, version, grouped(facts.rotations)]);
        }
        self.push("</tbody></table>\n");
        self.more(table.len(), table.others.is_some());
        self.push("</section>\n");
    }

    fn more(&mut self, told_apart: usize, is_cut: bool) {
        if told_apart > SHOWN {
            let others = grouped((told_apart - SHOWN) as u64);
            let cut = if is_cut { " and those that came after the first 10,000" } else { "" };
            let _ = writeln!(
                self.0,
                "<p class=\"note\">{others} more{cut} are not shown; <code>--json</code> has them.</p>"
            );
        }
    }

    fn reasons(&mut self, summary: &Summary) {
        if summary.reasons.len() == 0 {
            return;
        }
        self.section("Why operations failed");
        self.table(&["Reason", "", "#Failed"]);
        let rows = summary.reasons.largest(SHOWN, |count| count.failure);
        let most = rows.first().map_or(0, |(_, count)| count.all());
        for (reason, count) in rows {
            let reason = if reason.is_empty() { "(none was given)".into() } else { name_of(reason) };
            self.row(&[reason, plot::bar(*count, most), grouped(count.failure)]);
        }
        self.push("</tbody></table>\n</section>\n");
    }

    fn failovers(&mut self, summary: &Summary) {
        let failovers = &summary.failovers;
        if failovers.count == 0 {
            return;
        }
        self.section("Failovers");
        self.table(&["When (UTC)", "From", "To", "Operation", "Key"]);
        for failover in failovers.last.iter().rev().take(SHOWN) {
            self.row(&[
                failover.at.map_or("–".into(), minute),
                name_of(&failover.from),
                name_of(&failover.to),
                name_of(&failover.operation),
                name_of(&failover.key),
            ]);
        }
        self.push(
            "</tbody></table>\n<p class=\"note\">An operation that one key server could not be reached for, and the \
                   next one served. The last ones are shown.</p>\n</section>\n",
        );
    }

    fn rotations(&mut self, report: &Report) {
        self.section("Rotation");
        let days = report.rotate_after / DAY;
        let mut due: Vec<(&str, &KeyFacts)> = report.due().collect();
        due.sort_by_key(|(name, facts)| (facts.since, *name));
        if due.is_empty() {
            let _ = writeln!(self.0, "<p>No key of this trail is older than {days} days.</p>");
        } else {
            self.table(&["Key", "Since (UTC)", "Age", "#Newest version"]);
            for (name, facts) in due.iter().take(SHOWN) {
                let since = facts.since.unwrap_or(report.made);
                let at_least = if facts.is_made_here { "" } else { "at least " };
                let age = format!("{at_least}{} days", grouped(((report.made - since) / DAY).max(0) as u64));
                self.row(&[name_of(name), minute(since), age, facts.version.to_string()]);
            }
            self.push("</tbody></table>\n");
            self.more(due.len(), false);
        }
        let made: u64 = report.summary.by_key.iter().map(|(_, facts)| facts.rotations).sum();
        let _ = writeln!(
            self.0,
            "<p class=\"note\">Due after {days} days. {} in this trail: {}.</p>\n</section>",
            if made == 1 { "Rotation" } else { "Rotations" },
            grouped(made)
        );
    }

    fn on_the_servers(&mut self, evidence: &Evidence, report: &Report) {
        self.section("Keys on the key servers");
        self.table(&["Algorithm", "State", "Oldest (UTC)", "#Versions"]);
        for ((algorithm, state), facts) in &evidence.kinds {
            let oldest = facts.oldest.map_or("–".into(), minute);
            self.row(&[name_of(algorithm), name_of(state), oldest, grouped(facts.versions)]);
        }
        self.push("</tbody></table>\n");
        if !evidence.due.is_empty() {
            self.table(&["Due for rotation", "Since (UTC)", "Age"]);
            for (name, since) in evidence.due.iter().take(SHOWN) {
                let age = format!("{} days", grouped(((report.made - since) / DAY).max(0) as u64));
                self.row(&[name_of(name), minute(*since), age]);
            }
            self.push("</tbody></table>\n");
            self.more(evidence.due.len(), false);
        }
        self.withheld(&evidence.withheld);
        self.push("<p class=\"note\">As the key servers described them when this report was made.</p>\n</section>\n");
    }

    fn withheld(&mut self, objects: &[WithheldObject]) {
        if objects.is_empty() {
            return;
        }
        let _ = writeln!(
            self.0,
            "<p class=\"bad\">Objects that the key servers did not describe, and that no figure counts: {}. Each may be a key, or \
             the newest version of one.</p>",
            grouped(objects.len() as u64)
        );
        self.table(&["Object", "Key server", "Why"]);
        for WithheldObject { identifier, server, reason } in objects.iter().take(SHOWN) {
            self.row(&[name_of(identifier), name_of(server), name_of(reason)]);
        }
        self.push("</tbody></table>\n");
        self.more(objects.len(), false);
    }

    fn notices(&mut self, summary: &Summary) {
        let notices = &summary.notices;
        if notices.count == 0 {
            return;
        }
        self.section("What the trail tells of itself");
        self.table(&["When (UTC)", "What", "Message"]);
        for notice in notices.last.iter().rev().take(SHOWN) {
            let at = notice.at.map_or("–".into(), minute);
            self.row(&[at, name_of(&notice.what), name_of(&notice.message)]);
        }
        self.push("</tbody></table>\n</section>\n");
    }

    fn chain(&mut self, report: &Report) {
        let verification = &report.verification;
        self.section("Verification");
        let records = grouped(verification.records);
        if verification.is_intact() {
            let _ = writeln!(
                self.0,
                "<p>All {records} rows follow from each other by their SHA-256 hashes. By themselves they show what was changed by \
                 somebody who did not compute them anew; seals and anchors show the rest, as far as is said here.</p>"
            );
        } else {
            let found = verification.findings.len() as u64 + verification.unlisted;
            let (found, s) = (grouped(found), if found == 1 { "" } else { "s" });
            let _ = writeln!(self.0, "<p class=\"bad\">{found} finding{s} in {records} rows.</p>");
            self.table(&["Kind", "File", "Finding", "#Line"]);
            for finding in verification.findings.iter().take(SHOWN) {
                let kind = format!("{:?}", finding.kind).to_lowercase();
                self.row(&[kind, name_of(&finding.file), name_of(&finding.explanation), grouped(finding.line)]);
            }
            self.push("</tbody></table>\n");
        }
        for stream in &verification.streams {
            for line in stream.to_string().lines() {
                let _ = writeln!(self.0, "<p class=\"note\">{}.</p>", escaped(line.trim()));
            }
        }
        for note in verification.notes.iter().take(SHOWN) {
            let _ = writeln!(self.0, "<p class=\"note\">{}</p>", escaped(note));
        }
        if report.summary.unreadable > 0 {
            let lines = grouped(report.summary.unreadable);
            let _ =
                writeln!(self.0, "<p class=\"bad\">{lines} lines could not be read as rows, and are in no figure.</p>");
        }
        self.push("</section>\n");
    }

    /// Begins a table. An empty heading is that of a bar, and a `#` goes before that of a number.
    fn table(&mut self, headings: &[&str]) {
        self.push("<table><thead><tr>");
        for heading in headings {
            let _ = match heading.strip_prefix('#') {
                Some(heading) => write!(self.0, "<th scope=\"col\" class=\"number\">{heading}</th>"),
                None if heading.is_empty() => write!(self.0, "<td class=\"bars\"></td>"),
                None => write!(self.0, "<th scope=\"col\">{heading}</th>"),
            };
        }
        self.push("</tr></thead><tbody>\n");
    }

    /// Cells are HTML. The first names the row; the others are numbers if they are nothing but digits.
    fn row(&mut self, cells: &[String]) {
        self.push("<tr>");
        for (index, cell) in cells.iter().enumerate() {
            let is_number = cell.chars().all(|c| c.is_ascii_digit() || c == ',' || c == '–');
            let _ = match index {
                0 => write!(self.0, "<th scope=\"row\">{cell}</th>"),
                _ if is_number => write!(self.0, "<td class=\"number\">{cell}</td>"),
                _ => write!(self.0, "<td>{cell}</td>"),
            };
        }
        self.push("</tr>\n");
    }
}

/// A name from the trail: kept apart from the direction of what stands around it.
fn name_of(text: &str) -> String {
    format!("<bdi>{}</bdi>", escaped(text))
}

/// Whatever it holds, it is text of the page and nothing else.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Controls, and what turns the direction of text around.
            _ if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

/// `12,345`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `2026-11-23 20:15`
pub fn minute(seconds: i64) -> String {
    let mut text = utc(seconds);
    text.truncate(text.len().saturating_sub(4));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_becomes_part_of_the_page() {
        assert_eq!(
            escaped("<script>\"a\" & 'b'</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;"
        );
        assert_eq!(escaped("a\u{202e}b\0c\n"), "a\\u{202e}b\\u{0}c\\u{a}");
        assert_eq!(escaped("鍵 Ελένη"), "鍵 Ελένη");
    }

    #[test]
    fn numbers_are_grouped_and_moments_are_short() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(minute(1_795_464_900), "2026-11-23 20:15");
    }
}
