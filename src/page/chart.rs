//! Small charts of an hour: inline SVG, with everything that they show also said in words.

use super::hour::{Counter, LastHour, Minute, total};
use super::html::Html;
use super::words::counted;

/// Width of a minute, in units of the SVG: `viewBox` below is 60 of them wide, and `HEIGHT` high.
const BAR: u64 = 4;
const HEIGHT: u64 = 48;

/// What one chart shows of each minute.
enum Plotted {
    Sessions,
    /// One above the other, with the class of `style.css` that colors each, and its name.
    Stacked(&'static [(Counter, &'static str, &'static str)]),
}

/// The charts of every cluster: title, and what they show.
const CHARTS: [(&str, Plotted); 4] = [
    ("Sessions", Plotted::Sessions),
    (
        "Transfers",
        Plotted::Stacked(&[
            (Counter::Complete, "complete", "complete"),
            (Counter::Unseen, "unseen", "whose end is not seen"),
            (Counter::Denied, "denied", "denied by the server"),
            (Counter::Failed, "failed", "failed"),
        ]),
    ),
    ("Data connections", Plotted::Stacked(&[(Counter::Came, "came", "came as expected")])),
    (
        "Failures",
        Plotted::Stacked(&[
            (Counter::Missing, "missing", "expected, did not come"),
            (Counter::Refused, "refused", "refused by the director"),
            (Counter::Unexpected, "unexpected", "came unexpected"),
            (Counter::Misdirected, "misdirected", "went to another server"),
        ]),
    ),
];

/// Adds the charts of a cluster, `number` of them on the page.
pub fn charts(page: &mut Html, number: usize, hour: &LastHour) {
    page.markup("<div class=\"charts\">\n");
    for (title, plotted) in &CHARTS {
        page.markup("<figure>\n").element(("<figcaption>", "</figcaption>\n"), title);
        let layers = layers(plotted, hour);
        let most = layers.last().and_then(|top| top.heights.iter().max()).copied().unwrap_or_default();
        svg(page, &format!("{title}-{number}").replace(' ', "-"), (title, most), (&layers, hour));
        scale(page, most);
        match plotted {
            Plotted::Sessions => now(page, hour),
            Plotted::Stacked(parts) => legend(page, parts, hour),
        }
        page.markup("</figure>\n");
    }
    page.markup("</div>\n");
}

/// One part of what is stacked: where it ends, minute by minute.
struct Layer {
    class: &'static str,
    heights: Vec<u64>,
}

fn layers(plotted: &Plotted, hour: &LastHour) -> Vec<Layer> {
    let known = |value: &dyn Fn(&Minute) -> u64| -> Vec<u64> {
        hour.iter().map(|minute| minute.as_ref().map_or(0, value)).collect()
    };
    match plotted {
        Plotted::Sessions => vec![Layer { class: "sessions", heights: known(&|minute| minute.sessions) }],
        Plotted::Stacked(parts) => {
            let mut below = vec![0_u64; hour.len()];
            let layer = |&(counter, class, _): &(Counter, &'static str, &str)| {
                let heights = known(&|minute| minute.counts.of(counter));
                below = below.iter().zip(heights).map(|(below, height)| below.saturating_add(height)).collect();
                Layer { class, heights: below.clone() }
            };
            parts.iter().map(layer).collect()
        }
    }
}

fn svg(page: &mut Html, id: &str, (title, most): (&str, u64), (layers, hour): (&[Layer], &LastHour)) {
    page.markup("<svg viewBox=\"0 0 240 48\" preserveAspectRatio=\"none\" role=\"img\" aria-labelledby=\"")
        .text(format_args!("{id}-t {id}-d"))
        .markup("\"><title id=\"")
        .text(format_args!("{id}-t"))
        .markup("\">")
        .text(format_args!("{title}, minute by minute of the last hour"))
        .markup("</title><desc id=\"")
        .text(format_args!("{id}-d"))
        .markup("\">")
        .text(format_args!("At most {} in a minute.", counted(most)))
        .markup("</desc>");
    let unknown = bars(hour.iter().map(|minute| if minute.is_none() { HEIGHT } else { 0 }));
    path(page, "unknown", &unknown);
    // The highest first: each covers what is above its own end.
    for layer in layers.iter().rev() {
        path(page, layer.class, &bars(layer.heights.iter().map(|&height| scaled(height, most))));
    }
    page.markup("</svg>\n");
}

fn path(page: &mut Html, class: &'static str, d: &str) {
    if !d.is_empty() {
        page.markup("<path class=\"").markup(class).markup("\" d=\"").text(d).markup("\"/>");
    }
}

/// A height in the SVG; what is not nothing can be seen.
fn scaled(value: u64, most: u64) -> u64 {
    if value == 0 {
        return 0;
    }
    let scaled = u128::from(value) * u128::from(HEIGHT) / u128::from(most.max(1));
    u64::try_from(scaled).unwrap_or(HEIGHT).clamp(1, HEIGHT)
}

/// The path of bars from the ground up; neighbours of one height are one bar.
fn bars(heights: impl Iterator<Item = u64>) -> String {
    let mut path = String::new();
    let (mut at, mut height, mut begun) = (0, 0, 0);
    for next in heights.chain(std::iter::once(0)) {
        if next != height {
            if height > 0 {
                let wide = at - begun;
                path += &format!("M{begun} {HEIGHT}v-{height}h{wide}v{height}z");
            }
            (height, begun) = (next, at);
        }
        at += BAR;
    }
    path
}

/// What the top of a chart and its two sides are.
fn scale(page: &mut Html, most: u64) {
    page.markup("<p class=\"scale\" aria-hidden=\"true\"><span>60 min ago</span><span>full height: ")
        .text(counted(most))
        .markup("</span><span>now</span></p>\n");
}

fn now(page: &mut Html, hour: &LastHour) {
    let sessions = |minute: &Minute| minute.sessions;
    let latest = hour.iter().rev().flatten().next().map(sessions);
    let most = hour.iter().flatten().map(sessions).max();
    page.markup("<ul class=\"legend\"><li><span class=\"swatch sessions\"></span>");
    match latest.zip(most) {
        Some((latest, most)) => {
            page.text(format_args!("{} in the last minute, {} at most", counted(latest), counted(most)))
        }
        None => page.markup("no minute is over yet"),
    };
    page.markup("</li></ul>\n");
}

fn legend(page: &mut Html, parts: &[(Counter, &'static str, &'static str)], hour: &LastHour) {
    page.markup("<ul class=\"legend\">");
    for &(counter, class, name) in parts {
        let total = total(hour, counter);
        page.markup("<li><span class=\"swatch ").markup(class).markup("\"></span>");
        page.element(("<b>", "</b> "), counted(total)).markup(name).markup("</li>");
    }
    page.markup("</ul>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_one_height_are_one() {
        assert_eq!(bars([0, 5, 5, 48, 0, 1].into_iter()), "M4 48v-5h8v5zM12 48v-48h4v48zM20 48v-1h4v1z");
        assert_eq!(bars([0; 60].into_iter()), "");
    }

    #[test]
    fn the_least_is_seen_and_the_most_fits() {
        for (value, most, expected) in
            [(0, 0, 0), (0, 9, 0), (1, 1, 48), (1, 1_000_000, 1), (500, 1000, 24), (u64::MAX, u64::MAX, 48)]
        {
            assert_eq!(scaled(value, most), expected, "{value} of {most}");
        }
    }
}
