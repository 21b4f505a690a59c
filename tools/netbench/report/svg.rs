//! A bar chart: a row of panels per figure, a column per scenario, a bar per peer.
//!
//! Colours are readable on light and on dark ground; the ground itself is left to the page.

use std::fmt::Write;

use super::{Report, digits};
use crate::figure::{Figure, Scenario};
use crate::peer::TAPWAY;
use crate::results::Summary;

const ROWS: [Figure; 4] = [Figure::Tcp1, Figure::Flood, Figure::Connects, Figure::RttP50];
/// Pixels.
const PANEL_WIDTH: usize = 380;
const NAME_WIDTH: usize = 96;
const VALUE_WIDTH: usize = 54;
const BAR_HEIGHT: usize = 13;
const BAR_PITCH: usize = 19;
const PANEL_HEAD: usize = 48;
const MARGIN: usize = 14;

/// The picture.
pub fn to_svg(report: &Report) -> String {
    let scenarios: Vec<Scenario> =
        report.scenarios().into_iter().filter(|s| *s != Scenario::Fairness).collect();
    let (mut body, mut top) = (String::new(), MARGIN);
    for figure in ROWS {
        let bars = |scenario: &Scenario| bars_of(report, *scenario, figure).len();
        let tallest = scenarios.iter().map(bars).max().unwrap_or(0);
        if tallest == 0 {
            continue;
        }
        for (column, scenario) in scenarios.iter().enumerate() {
            let left = MARGIN + column * PANEL_WIDTH;
            panel(&mut body, (left, top), (*scenario, figure), &bars_of(report, *scenario, figure));
        }
        top += PANEL_HEAD + tallest * BAR_PITCH + MARGIN;
    }
    let width = 2 * MARGIN + scenarios.len().max(1) * PANEL_WIDTH;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{top}\" \
         viewBox=\"0 0 {width} {top}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>\n\
         text {{ fill: #6b7280 }} .head {{ font-weight: bold; font-size: 13px }}\n\
         .own {{ font-weight: bold }} .bar {{ fill: #9ca3af }} .bar.own {{ fill: #d97706 }}\n\
         .range {{ stroke: #6b7280; stroke-width: 1.5 }}\n\
         </style>\n{body}</svg>\n"
    )
}

fn bars_of(report: &Report, scenario: Scenario, figure: Figure) -> Vec<(&str, Summary)> {
    let measured = report.measured(scenario).into_iter();
    measured
        .filter_map(|peer| Some((peer, report.results.summary(scenario, figure, peer)?)))
        .collect()
}

fn panel(
    body: &mut String,
    (left, top): (usize, usize),
    (scenario, figure): (Scenario, Figure),
    bars: &[(&str, Summary)],
) {
    if bars.is_empty() {
        return;
    }
    let name = match scenario {
        Scenario::L2 => "L2",
        Scenario::Nat => "NAT",
        Scenario::Published => "published port",
        Scenario::Fairness => "fairness",
        Scenario::Vxlan => "VXLAN",
    };
    let better = if figure.is_cost() { "less is better" } else { "more is better" };
    let (title, unit) = (figure.title(), figure.unit());
    let _ = writeln!(
        body,
        "<text class=\"head\" x=\"{left}\" y=\"{}\">{title}, {name}</text>\n\
         <text x=\"{left}\" y=\"{}\">{unit}, {better}</text>",
        top + 14,
        top + 32
    );
    let most = bars.iter().map(|(_, summary)| summary.max).fold(f64::MIN_POSITIVE, f64::max);
    let room = (PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH - MARGIN) as f64;
    for (at, (peer, summary)) in bars.iter().enumerate() {
        bar(body, (left, top + PANEL_HEAD + at * BAR_PITCH), peer, *summary, room / most);
    }
}

fn bar(body: &mut String, (left, top): (usize, usize), peer: &str, summary: Summary, scale: f64) {
    let class = if peer.starts_with(TAPWAY) { " own" } else { "" };
    let (start, base) = (left + NAME_WIDTH, top + BAR_HEIGHT - 2);
    let at = |value: f64| start as f64 + value * scale;
    let (middle, value) = (top as f64 + BAR_HEIGHT as f64 / 2.0, digits(summary.median));
    let _ = writeln!(
        body,
        "<text class=\"{class}\" x=\"{}\" y=\"{base}\" text-anchor=\"end\">{peer}</text>\n\
         <rect class=\"bar{class}\" x=\"{start}\" y=\"{top}\" width=\"{:.1}\" \
         height=\"{BAR_HEIGHT}\"/>\n\
         <line class=\"range\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>\n\
         <text class=\"{class}\" x=\"{:.1}\" y=\"{base}\">{value}</text>",
        start - 6,
        (summary.median * scale).max(1.0),
        at(summary.min),
        at(summary.max),
        at(summary.max) + 6.0,
    );
}
