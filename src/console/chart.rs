//! Bars of calls by hour, as SVG.
//!
//! The colors in it are names only: the style sheet gives each its color, light and dark. Not here: the numbers (`store`).

use plotters::prelude::{
    ChartBuilder, IntoDrawingArea, RGBColor, Rectangle, SVGBackend, SeriesLabelPosition, ShapeStyle,
};

use crate::inspect::plain;
use crate::store::Activity;

/// Groups that have a color; all others are one.
const GROUPS: usize = 6;

const WIDTH: u32 = 440;
const HEIGHT: u32 = 220;

/// Text and lines; the style sheet makes it the text's color.
const INK: RGBColor = RGBColor(1, 1, 1);

/// The color of a group.
const fn color(group: usize) -> RGBColor {
    #[expect(clippy::cast_possible_truncation, reason = "there are seven groups")]
    RGBColor(2, 2, group as u8)
}

/// A chart of these counts, with `count` of each; an empty text where there is nothing to draw.
pub(super) fn bars(
    title: &str,
    activity: &[Activity],
    hours: &[String],
    count: fn(&Activity) -> u64,
) -> String {
    let mut svg = String::new();
    if draw(&mut svg, activity, hours, count).is_none() {
        return String::new();
    }
    // A picture with a name, for those who don't see it.
    let title = plain(title).replace(['"', '<', '>', '&'], "?");
    svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{title}\" "), 1)
}

fn draw(
    svg: &mut String,
    activity: &[Activity],
    hours: &[String],
    count: fn(&Activity) -> u64,
) -> Option<()> {
    let groups = groups(activity, count);
    let stacks: Vec<Vec<u64>> = hours
        .iter()
        .map(|hour| {
            let of = |group: usize| {
                let in_group = |one: &&Activity| {
                    one.hour == *hour
                        && groups.iter().position(|name| *name == one.name).unwrap_or(GROUPS) == group
                };
                activity.iter().filter(in_group).map(count).sum()
            };
            (0..=GROUPS).map(of).collect()
        })
        .collect();
    let most = stacks.iter().map(|stack| stack.iter().sum::<u64>()).max().unwrap_or(0);
    if most == 0 || hours.is_empty() {
        return None;
    }
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(44)
        .build_cartesian_2d(0..hours.len(), 0..most + most.div_ceil(10))
        .ok()?;
    // Of a day its hours, of more days these.
    let days = hours.len() > 30;
    let label = |at: &usize| match hours.get(*at) {
        Some(hour) if days => hour.get(5..10).unwrap_or_default().to_owned(),
        Some(hour) => format!("{}h", hour.get(11..13).unwrap_or_default()),
        None => String::new(),
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(8)
        .y_labels(4)
        .x_label_formatter(&label)
        .axis_style(INK)
        .label_style(("sans-serif", 13, &INK))
        .bold_line_style(RGBColor(1, 1, 2))
        .light_line_style(ShapeStyle { color: INK.into(), filled: false, stroke_width: 0 })
        .draw()
        .ok()?;
    for group in 0..=GROUPS {
        let name = groups.get(group).map_or("others", String::as_str);
        if stacks.iter().all(|stack| stack.get(group) == Some(&0)) {
            continue;
        }
        let bars = stacks.iter().enumerate().filter_map(|(at, stack)| {
            let below: u64 = stack.iter().take(group).sum();
            let own = *stack.get(group)?;
            (own > 0).then(|| {
                Rectangle::new([(at, below), (at + 1, below + own)], ShapeStyle::from(color(group)).filled())
            })
        });
        chart.draw_series(bars).ok()?.label(super::cells::cut(name, 24)).legend(move |(x, y)| {
            Rectangle::new([(x, y - 4), (x + 8, y + 4)], ShapeStyle::from(color(group)).filled())
        });
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(("sans-serif", 13, &INK))
        .draw()
        .ok()?;
    root.present().ok()
}

/// The groups with the most calls.
fn groups(activity: &[Activity], count: fn(&Activity) -> u64) -> Vec<String> {
    let mut totals = std::collections::BTreeMap::<&str, u64>::new();
    activity.iter().for_each(|one| *totals.entry(one.name.as_str()).or_default() += count(one));
    let mut names: Vec<(&str, u64)> = totals.into_iter().filter(|(_, total)| *total > 0).collect();
    names.sort_by_key(|(_, total)| std::cmp::Reverse(*total));
    names.into_iter().take(GROUPS).map(|(name, _)| name.to_owned()).collect()
}
