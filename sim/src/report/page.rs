//! The page around the picture.

use std::fmt::Write as _;

use super::picture::{escaped, picture, seconds};
use super::timeline::Timeline;

const STYLE: &str = include_str!("page.css");

/// What each look means: class of the swatch, words.
const LEGEND: &[(&str, &str)] = &[
    ("term t1", "leads; a colour for each term"),
    ("up", "runs"),
    ("down", "is down; × ended, ▸ started again"),
    ("cut", "links cut both ways, as high as their share"),
    ("one-way", "links cut one way"),
    ("held", "links stand still, nothing lost"),
    ("struck P", "the node is paused"),
    ("struck D", "its disk is slow or fails"),
    ("struck C", "its clock jumps or stands"),
    ("struck N", "it is slow"),
    ("acknowledged", "requests answered"),
    ("refused", "requests refused: nothing happened"),
    ("unknown", "requests without an outcome"),
];

/// The whole page.
pub(super) fn page(timeline: &Timeline) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1><p class=\"plan\">{plan}</p>",
        title = escaped(&timeline.title),
        plan = escaped(&timeline.plan)
    );
    // Writing into a string does not fail.
    let _ = match &timeline.violation {
        Some(mark) => write!(
            html,
            "<p class=\"verdict broken\"><strong>{}</strong> is violated, seen at {}: {}</p>",
            escaped(&mark.name),
            seconds(mark.at),
            escaped(&mark.text)
        ),
        None => write!(html, "<p class=\"verdict kept\">No promise was broken.</p>"),
    };
    html.push_str("<div class=\"picture\">");
    html.push_str(&picture(timeline));
    html.push_str("</div><ul class=\"legend\">");
    for (class, words) in LEGEND {
        let _ = write!(
            html,
            "<li><svg viewBox=\"0 0 22 12\"><rect width=\"22\" height=\"12\" class=\"{class}\"/></svg>{words}</li>"
        );
    }
    html.push_str(
        "<li><svg viewBox=\"0 0 22 12\"><line x1=\"11\" y1=\"0\" x2=\"11\" y2=\"12\" class=\"healed\"/></svg>all faults end</li>\
         <li><svg viewBox=\"0 0 22 12\"><line x1=\"11\" y1=\"0\" x2=\"11\" y2=\"12\" class=\"violated\"/></svg>the violation is seen</li>\
         </ul>",
    );
    let _ = write!(
        html,
        "<p>The same run again: <code>{}</code></p><h2>The last events that matter</h2><table>",
        escaped(&timeline.command)
    );
    for (at, place, text) in &timeline.story {
        let class = if text.starts_with("VIOLATED") {
            " class=\"broken\""
        } else {
            ""
        };
        let _ = write!(
            html,
            "<tr{class}><td>{}</td><td>{}</td><td>{}</td></tr>",
            seconds(*at),
            escaped(place),
            escaped(text)
        );
    }
    html.push_str("</table></body></html>\n");
    html
}
