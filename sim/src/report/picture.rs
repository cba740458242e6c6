//! The drawing: nodes as lanes, then a row for each class of faults, all on one axis of time.

use std::fmt::Write as _;

use super::timeline::{Answers, Lane, Mark, Span, Timeline};

/// Width of the drawing, and of the names on its left.
const WIDTH: f64 = 1400.0;
const LEFT: f64 = 112.0;
const RIGHT: f64 = 14.0;
/// Heights.
const AXIS: f64 = 46.0;
const LANE: f64 = 94.0;
const ROW: f64 = 17.0;
/// What lies where in a lane, from its top: height and offset of life, links, own faults, answers.
const LIFE: (f64, f64) = (4.0, 22.0);
const LINKS: (f64, f64) = (29.0, 12.0);
const STRUCK: (f64, f64) = (44.0, 11.0);
const ANSWERS: (f64, f64) = (67.0, 20.0);
/// What strikes a node at the same time has so many rows.
const STRUCK_ROWS: usize = 2;
/// Colours of terms; they come again.
pub(super) const TERM_COLOURS: u64 = 8;

/// Draws `timeline`.
pub(super) fn picture(timeline: &Timeline) -> String {
    let rows_top = AXIS + LANE * timeline.lanes.len() as f64 + 26.0;
    let height = rows_top + ROW * timeline.faults.len() as f64 + 12.0;
    let mut drawing = Drawing {
        svg: String::new(),
        end: timeline.end as f64,
    };
    let _ = write!(
        drawing.svg,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Timeline of the run\">\
         <defs><pattern id=\"down\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <rect class=\"down-ground\" width=\"7\" height=\"7\"/><rect class=\"down-line\" width=\"2.5\" height=\"7\"/></pattern></defs>"
    );
    drawing.axis(height);
    let busiest = timeline.lanes.iter().flat_map(|lane| &lane.answers).map(total).max();
    for (place, lane) in timeline.lanes.iter().enumerate() {
        let top = AXIS + LANE * place as f64;
        drawing.lane(
            lane,
            top,
            timeline.slot_us() as f64,
            f64::from(busiest.unwrap_or(1).max(1)),
        );
    }
    drawing.text(0.0, rows_top - 8.0, "heading", "faults");
    for (place, row) in timeline.faults.iter().enumerate() {
        let top = rows_top + ROW * place as f64;
        drawing.text(0.0, top + 11.0, "name", row.name);
        drawing.line(LEFT, top + 7.0, WIDTH - RIGHT, top + 7.0, "thread");
        for span in &row.spans {
            drawing.span(span, top + 1.0, 12.0, "fault", "");
        }
    }
    if let Some(mark) = &timeline.healed {
        drawing.moment(mark, "healed", height);
    }
    if let Some(mark) = &timeline.violation {
        drawing.moment(mark, "violated", height);
    }
    drawing.svg.push_str("</svg>");
    drawing.svg
}

fn total(answers: &Answers) -> u32 {
    answers.acknowledged + answers.refused + answers.unknown
}

/// Seconds, to read.
pub(super) fn seconds(us: u64) -> String {
    format!("{}.{:03} s", us / 1_000_000, us / 1_000 % 1_000)
}

/// `text` in HTML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// Whether a label has room in `width`.
fn fits(label: &str, width: f64) -> bool {
    width > 6.2 * label.len() as f64 + 4.0
}

struct Drawing {
    svg: String,
    end: f64,
}

impl Drawing {
    fn x(&self, at_us: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * at_us / self.end
    }

    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let _ = write!(
            self.svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\">{}</text>",
            escaped(text)
        );
    }

    fn line(&mut self, x1: f64, y1: f64, x2: f64, y2: f64, class: &str) {
        let _ = write!(
            self.svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
        );
    }

    fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str, title: &str) {
        let _ = write!(
            self.svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"{class}\">"
        );
        if !title.is_empty() {
            let _ = write!(self.svg, "<title>{}</title>", escaped(title));
        }
        self.svg.push_str("</rect>");
    }

    /// A span, at least as wide as an eye sees, with `label` inside if there is room.
    fn span(&mut self, span: &Span, top: f64, height: f64, class: &str, label: &str) {
        let (from, to) = (self.x(span.from as f64), self.x(span.to as f64));
        let width = (to - from).max(2.0);
        let title = format!("{} to {}: {}", seconds(span.from), seconds(span.to), span.text);
        self.rect((from, top), (width, height), class, &title);
        if !label.is_empty() && fits(label, width) {
            self.text(from + width / 2.0, top + height / 2.0 + 4.0, "label", label);
        }
    }

    fn axis(&mut self, height: f64) {
        let total_s = self.end / 1e6;
        let step_s = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0]
            .into_iter()
            .find(|step| total_s / step <= 16.0)
            .unwrap_or(1_800.0);
        for tick in 0..=(total_s / step_s) as u32 {
            let at_s = f64::from(tick) * step_s;
            let x = self.x(at_s * 1e6);
            self.line(x, AXIS - 8.0, x, height, "grid");
            self.text(x, AXIS - 12.0, "tick", &format!("{at_s} s"));
        }
    }

    fn lane(&mut self, lane: &Lane, top: f64, slot_us: f64, busiest: f64) {
        self.text(0.0, top + LIFE.0 + 16.0, "node", &lane.name);
        self.text(34.0, top + LIFE.0 + 15.0, "name", "leads");
        self.text(34.0, top + LINKS.0 + 9.5, "name", "links");
        self.text(34.0, top + STRUCK.0 + 9.0, "name", "itself");
        self.text(34.0, top + ANSWERS.0 + 14.0, "name", "answers");
        let whole = WIDTH - LEFT - RIGHT;
        self.rect((LEFT, top + LIFE.0), (whole, LIFE.1), "up", "");
        for (span, term) in &lane.leads {
            let named = Span {
                text: format!("{} leads term {term}", lane.name),
                ..span.clone()
            };
            let class = format!("term t{}", term % TERM_COLOURS);
            let label = format!("term {term}");
            let (from, to) = (self.x(span.from as f64), self.x(span.to as f64));
            let label = if fits(&label, to - from) {
                label
            } else {
                term.to_string()
            };
            self.span(&named, top + LIFE.0, LIFE.1, &class, &label);
        }
        for span in &lane.down {
            let wide = fits("down and two marks", self.x(span.to as f64) - self.x(span.from as f64));
            self.span(span, top + LIFE.0, LIFE.1, "down", if wide { "down" } else { "" });
            let (x, y) = (self.x(span.from as f64), top + LIFE.0 + LIFE.1 / 2.0);
            let _ = write!(
                self.svg,
                "<path class=\"crash\" d=\"M{:.1} {:.1}l9 9m0 -9l-9 9\"/>",
                x - 4.5,
                y - 4.5
            );
            if (span.to as f64) < self.end {
                let x = self.x(span.to as f64);
                let _ = write!(
                    self.svg,
                    "<path class=\"restart\" d=\"M{x:.1} {:.1}l7 5l-7 5z\"/>",
                    y - 5.0
                );
            }
        }
        self.links(lane, top);
        self.struck(lane, top);
        self.answers(lane, top, slot_us, busiest);
        self.line(0.0, top + LANE, WIDTH - RIGHT, top + LANE, "between");
    }

    /// What struck the node by itself, beneath each other if at the same time.
    fn struck(&mut self, lane: &Lane, top: f64) {
        let mut busy_until = [0; STRUCK_ROWS];
        let mut struck: Vec<_> = lane.struck.iter().collect();
        struck.sort_by_key(|(span, _)| span.from);
        for (span, name) in struck {
            let row = busy_until.iter().position(|until| *until <= span.from).unwrap_or(0);
            busy_until[row] = span.to;
            let kind = name.split(' ').next().unwrap_or_default();
            let class = format!("struck {}", &kind[..1]);
            let (from, to) = (self.x(span.from as f64), self.x(span.to as f64));
            let label = [*name, kind].into_iter().find(|label| fits(label, to - from));
            let y = top + STRUCK.0 + STRUCK.1 * row as f64;
            self.span(span, y, STRUCK.1 - 1.0, &class, label.unwrap_or_default());
        }
    }

    /// How many of the links of a node are not whole: as high as their share.
    fn links(&mut self, lane: &Lane, top: f64) {
        let bottom = top + LINKS.0 + LINKS.1;
        let whole = WIDTH - LEFT - RIGHT;
        self.rect((LEFT, top + LINKS.0), (whole, LINKS.1), "whole", "");
        for reach in &lane.reach {
            let (from, to) = (self.x(reach.from as f64), self.x(reach.to as f64));
            let mut y = bottom;
            let parts = [
                (reach.cut, "cut", "cut both ways"),
                (reach.one_way, "one-way", "cut one way"),
                (reach.held, "held", "standing still"),
            ];
            for (count, class, words) in parts {
                let height = LINKS.1 * count as f64 / reach.of as f64;
                if count > 0 {
                    y -= height;
                    let title = format!(
                        "{} to {}: {count} of {} links of {} {words}",
                        seconds(reach.from),
                        seconds(reach.to),
                        reach.of,
                        lane.name
                    );
                    self.rect((from, y), ((to - from).max(1.0), height), class, &title);
                }
            }
        }
    }

    fn answers(&mut self, lane: &Lane, top: f64, slot_us: f64, busiest: f64) {
        let bottom = top + ANSWERS.0 + ANSWERS.1;
        self.line(LEFT, bottom, WIDTH - RIGHT, bottom, "thread");
        for (slot, answers) in lane.answers.iter().enumerate() {
            if total(answers) == 0 {
                continue;
            }
            let from = self.x(slot as f64 * slot_us);
            let width = (self.x((slot as f64 + 1.0) * slot_us).min(WIDTH - RIGHT) - from - 0.7).max(0.7);
            let mut y = bottom;
            let title = format!(
                "{}: {} answered, {} refused, {} unknown",
                lane.name, answers.acknowledged, answers.refused, answers.unknown
            );
            let parts = [
                (answers.acknowledged, "acknowledged"),
                (answers.refused, "refused"),
                (answers.unknown, "unknown"),
            ];
            for (count, class) in parts.into_iter().filter(|(count, _)| *count > 0) {
                // By the root: one unknown answer among many is seen too.
                let share = f64::from(count).sqrt() / busiest.sqrt();
                let height = (ANSWERS.1 * share).max(1.5).min(y - (bottom - ANSWERS.1));
                y -= height.max(0.0);
                self.rect((from, y), (width, height.max(0.0)), class, &title);
            }
        }
    }

    fn moment(&mut self, mark: &Mark, class: &str, height: f64) {
        let x = self.x(mark.at as f64);
        self.line(x, AXIS - 8.0, x, height, class);
        let anchor = if x > WIDTH * 0.85 { "end" } else { "middle" };
        let shift = if anchor == "end" { WIDTH - RIGHT - x } else { 0.0 };
        let y = if class == "violated" { 12.0 } else { 24.0 };
        let words = if class == "violated" {
            format!("{} is violated", mark.name)
        } else {
            "all faults end".to_owned()
        };
        let anchor = if class == "violated" { anchor } else { "middle" };
        let shift = if class == "violated" { shift } else { 0.0 };
        let _ = write!(
            self.svg,
            "<text x=\"{:.1}\" y=\"{y}\" class=\"{class}\" text-anchor=\"{anchor}\">{}<title>{}</title></text>",
            x + shift,
            escaped(&words),
            escaped(&mark.text)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_foreign_is_escaped() {
        assert_eq!(escaped("a<b>&\"c"), "a&lt;b&gt;&amp;&quot;c");
    }

    #[test]
    fn an_empty_run_is_drawn_too() {
        let timeline = Timeline {
            end: 1,
            ..Timeline::default()
        };
        assert!(picture(&timeline).ends_with("</svg>"));
    }
}
