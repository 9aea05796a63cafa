//! Drawings, as SVG within the page.

use std::fmt::Write;

use super::html::{grouped, minute};
use super::summary::{Count, Timeline};

const WIDTH: i64 = 960;
const HEIGHT: i64 = 220;
/// Room for the figures on the left, and for the dates below.
const LEFT: i64 = 56;
const BELOW: i64 = 26;
const ABOVE: i64 = 8;

pub const LEGEND: &str = concat!(
    "<p class=\"legend\"><svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"ok\" width=\"10\" height=\"10\"/></svg> succeeded ",
    "<svg viewBox=\"0 0 10 10\" aria-hidden=\"true\"><rect class=\"bad\" width=\"10\" height=\"10\"/></svg> failed</p>\n"
);

/// Operations over time, one bar for each span, what failed on top.
pub fn timeline(timeline: &Timeline) -> String {
    let (Some(first), Some(last)) = (timeline.bars.keys().next(), timeline.bars.keys().next_back()) else {
        return String::new();
    };
    let spans = timeline.count();
    let most = timeline.bars.values().map(|bar| bar.all()).max().unwrap_or(1);
    let top = round_up(most);
    let mut svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Operations in spans of {}, from {} to {}; \
         the most in one span are {}\">\n",
        span(timeline.width),
        minute(*first),
        minute(last + timeline.width),
        grouped(most)
    );
    grid(&mut svg, top);
    let step = (WIDTH - LEFT) as f64 / spans as f64;
    let wide = (step * 0.78).min(40.0);
    for (start, count) in &timeline.bars {
        let x = LEFT as f64 + ((start - first) / timeline.width) as f64 * step + (step - wide) / 2.0;
        bar_of_span(&mut svg, *start, *count, (x, wide), top);
    }
    dates(&mut svg, timeline, *first, step);
    svg + "</svg>\n"
}

fn y(value: u64, top: u64) -> f64 {
    let height = (HEIGHT - BELOW - ABOVE) as f64;
    (HEIGHT - BELOW) as f64 - height * value as f64 / top as f64
}

fn grid(svg: &mut String, top: u64) {
    let steps = [5, 4, 3].into_iter().find(|&steps| top.is_multiple_of(steps)).unwrap_or(top.min(2));
    for step in 0..=steps {
        let value = top * step / steps;
        let y = y(value, top);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"axis end\" x=\"{}\" \
             y=\"{:.1}\">{}</text>",
            LEFT - 8,
            y + 4.0,
            grouped(value)
        );
    }
}

fn bar_of_span(svg: &mut String, start: i64, count: Count, (x, wide): (f64, f64), top: u64) {
    let (bottom, middle, upper) = (y(0, top), y(count.success, top), y(count.all(), top));
    let failed =
        if count.failure == 0 { String::new() } else { format!(", {} of them failed", grouped(count.failure)) };
    let _ = write!(svg, "<g><title>{}: {} operations{failed}</title>", minute(start), grouped(count.all()));
    if count.success > 0 {
        let _ = write!(
            svg,
            "<rect class=\"ok\" x=\"{x:.1}\" y=\"{middle:.1}\" width=\"{wide:.1}\" height=\"{:.1}\"/>",
            bottom - middle
        );
    }
    if count.failure > 0 {
        // Never so thin that it is overlooked.
        let height = (middle - upper).max(2.0);
        let y = middle - height;
        let _ =
            write!(svg, "<rect class=\"bad\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{height:.1}\"/>");
    }
    svg.push_str("</g>\n");
}

fn dates(svg: &mut String, timeline: &Timeline, first: i64, step: f64) {
    let spans = timeline.count();
    let every = (spans + 5) / 6;
    for place in (0..spans).step_by(every.max(1) as usize) {
        let text = minute(first + place * timeline.width);
        let text = if timeline.width >= 86_400 { &text[..text.len() - 6] } else { &text[5..] };
        let x = LEFT as f64 + place as f64 * step;
        let _ = writeln!(svg, "<text class=\"axis\" x=\"{x:.1}\" y=\"{}\">{text}</text>", HEIGHT - 6);
    }
}

/// A bar within a table; `most` fills the cell.
pub fn bar(count: Count, most: u64) -> String {
    let part = |value: u64| if most == 0 { 0.0 } else { 100.0 * value as f64 / most as f64 };
    let (ok, bad) = (part(count.success), part(count.failure));
    let bad = if count.failure > 0 { bad.max(1.0) } else { 0.0 };
    let ok = ok.min(100.0 - bad);
    format!(
        "<svg class=\"bar\" viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"ok\" \
         width=\"{ok:.2}\" height=\"10\"/><rect class=\"bad\" x=\"{ok:.2}\" width=\"{bad:.2}\" height=\"10\"/></svg>"
    )
}

/// The next round number from which the height of all bars is measured.
fn round_up(value: u64) -> u64 {
    if value <= 10 {
        return value.max(1);
    }
    let power = 10_u64.pow(value.ilog10() - 1);
    let steps = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100].map(|step| power.saturating_mul(step));
    steps.into_iter().find(|&step| step >= value).unwrap_or(value)
}

fn span(seconds: i64) -> String {
    match seconds {
        0..3_600 => format!("{} minutes", seconds / 60),
        3_600..86_400 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}
