//! The screen of `top`.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Sparkline, Table};

use super::sample::{Row, Sampler};
use super::{Column, Screen};
use crate::commands::concern::{self, Concern};
use crate::commands::status;
use crate::output::{bytes_text, or_dash, printable};

/// Rows that the curve takes.
const CURVE_ROWS: u16 = 3;

/// Draws everything.
pub(super) fn draw(screen: &Screen, now: Instant, frame: &mut Frame<'_>) {
    let sampler = &screen.sampler;
    let concerns = concerns(screen, now);
    let [head, curve, nodes, alarms, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(CURVE_ROWS),
        Constraint::Min(4),
        Constraint::Length(concerns.len().clamp(1, 8) as u16 + 1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(sampler)), head);
    // The newest at the right edge.
    let shown = sampler.writes.len().saturating_sub(usize::from(curve.width));
    let newest = sampler.writes.iter().skip(shown).copied();
    frame.render_widget(
        Sparkline::default()
            .data(newest.collect::<Vec<_>>())
            .style(Style::new().fg(Color::Cyan)),
        curve,
    );
    frame.render_widget(table(screen), nodes);
    let lines: Vec<_> = concerns.iter().map(concern_line).collect();
    frame.render_widget(Paragraph::new(lines), alarms);
    frame.render_widget(Paragraph::new(key_line(screen)), keys);
}

fn head_lines(sampler: &Sampler) -> Vec<Line<'static>> {
    let Some(cluster) = sampler.status() else {
        return vec![Line::raw("asking the cluster")];
    };
    let totals = format!(
        "{} writes/s  {} deliveries/s  {} clients  {} topics  {} sessions",
        rate(sampler.total(|row| row.writes)),
        rate(sampler.total(|row| row.deliveries)),
        or_dash(sampler.total(|row| row.member.client_count.map(|count| count as f64))),
        or_dash(cluster.members.iter().filter_map(|member| member.topic_count).max()),
        or_dash(cluster.members.iter().filter_map(|member| member.session_count).max()),
    );
    vec![
        Line::raw(status::head_line(cluster)),
        Line::styled(totals, Style::new().add_modifier(Modifier::BOLD)),
    ]
}

fn table(screen: &Screen) -> Table<'static> {
    let heads = [
        ("NODE", Some(Column::Node)),
        ("ROLE", None),
        ("STATE", None),
        ("WRITES/S", Some(Column::Writes)),
        ("DELIV/S", Some(Column::Deliveries)),
        ("CLIENTS", Some(Column::Clients)),
        ("LAG", Some(Column::Lag)),
        ("FSYNC P99", Some(Column::Fsync)),
        ("WRITE P99", None),
        ("MEMORY", None),
        ("DISK FREE", None),
    ];
    let mut widths = [20, 7, 11, 9, 9, 8, 8, 9, 9, 9, 9].map(Constraint::Max);
    // Where there is little room, ids are cut rather than this.
    widths[2] = Constraint::Length(11);
    let header = heads.map(|(name, column)| {
        let style = match column == Some(screen.sort) {
            true => Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            false => Style::new().add_modifier(Modifier::BOLD),
        };
        Cell::new(name).style(style)
    });
    let rows = screen.sampler.rows(screen.sort, screen.reverse).into_iter().map(row);
    Table::new(rows.collect::<Vec<_>>(), widths)
        .header(TableRow::new(header))
        .column_spacing(1)
}

fn row(row: &Row) -> TableRow<'static> {
    let member = &row.member;
    let (state, color) = match (member.reachable, &member.not_ready) {
        (false, _) => ("unreachable", Color::Red),
        (true, Some(_)) => ("not ready", Color::Yellow),
        (true, None) => ("ready", Color::Green),
    };
    let cells = [
        Cell::new(member.id.to_string()),
        Cell::new(printable(&member.role)),
        Cell::new(state).style(Style::new().fg(color)),
        Cell::new(rate(row.writes)),
        Cell::new(rate(row.deliveries)),
        Cell::new(or_dash(member.client_count)),
        Cell::new(or_dash(row.lag)),
        Cell::new(milliseconds(member.log_fsync_p99_us)),
        Cell::new(milliseconds(member.write_p99_us)),
        Cell::new(or_dash(member.memory_bytes.map(bytes_text))),
        Cell::new(or_dash(member.disk_free_bytes.map(bytes_text))),
    ];
    TableRow::new(cells)
}

/// What is wrong, with the node that does not answer at the top.
fn concerns(screen: &Screen, now: Instant) -> Vec<Concern> {
    let mut concerns = Vec::new();
    if let Some((error, since)) = &screen.trouble {
        let old = screen
            .sampler
            .at()
            .map_or(0, |at| now.saturating_duration_since(at).as_secs());
        let silent = now.saturating_duration_since(*since).as_secs();
        concerns.push(Concern::severe(format!(
            "no node has answered for {silent} s, what is shown is {old} s old: {}",
            printable(error)
        )));
    }
    if let Some(cluster) = screen.sampler.status() {
        concerns.extend(concern::all(cluster));
    }
    concerns
}

fn concern_line(concern: &Concern) -> Line<'static> {
    let color = if concern.is_severe { Color::Red } else { Color::Yellow };
    Line::from(vec![
        Span::styled("! ", Style::new().fg(color).add_modifier(Modifier::BOLD)),
        Span::styled(concern.text.clone(), Style::new().fg(color)),
    ])
}

fn key_line(screen: &Screen) -> Line<'static> {
    let order = if screen.reverse { ", reversed" } else { "" };
    let text = format!("q quit   s sort (by {}{order})   r reverse", screen.sort.name());
    Line::styled(text, Style::new().add_modifier(Modifier::DIM))
}

fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate >= 10_000.0 => format!("{:.1}k", rate / 1_000.0),
        Some(rate) => format!("{rate:.0}"),
    }
}

fn milliseconds(us: Option<u64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us) if us < 10_000 => format!("{:.1} ms", us as f64 / 1_000.0),
        Some(us) => format!("{} ms", us / 1_000),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "some moment to count from")]
mod tests {
    use std::time::Duration;

    use banyan_api::cluster::{ClusterStatus, Member};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn cluster(writes: u64) -> ClusterStatus {
        let member = |id: u64| Member {
            id,
            role: if id == 1 { "leader" } else { "voter" }.to_owned(),
            reachable: true,
            applied_index: Some(100 - id),
            committed_index: Some(100),
            topic_count: Some(1_000),
            client_count: Some(id),
            session_count: Some(6),
            delivered_count: Some(0),
            write_count: Some(writes * id),
            log_fsync_p99_us: Some(1_500 * id),
            write_p99_us: Some(12_000),
            memory_bytes: Some(100 << 20),
            disk_free_bytes: Some(50 << 30),
            ..Member::default()
        };
        ClusterStatus {
            cluster_id: "00000000000000ab".to_owned(),
            node_id: 1,
            term: 4,
            leader: Some(1),
            quorum: 2,
            members: (1..=3).map(member).collect(),
            alarms: Vec::new(),
        }
    }

    fn drawn(screen: &Screen, now: Instant) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(120, 18)).unwrap();
        terminal.draw(|frame| draw(screen, now, frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..120).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..18).map(|y| line(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn the_nodes_at_work() {
        let (mut screen, start) = (Screen::new(), Instant::now());
        screen.take(Ok((cluster(0), start)));
        screen.take(Ok((cluster(20_000), start + Duration::from_secs(2))));
        let lines = drawn(&screen, start + Duration::from_secs(2));
        let text = lines.join("\n");
        assert!(lines[0].starts_with("cluster 00000000000000ab"), "{text}");
        assert!(
            lines[1].starts_with("60.0k writes/s  0 deliveries/s  6 clients  1000 topics"),
            "{text}"
        );
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(&lines[6]),
            "1 leader ready 10.0k 0 1 1 1.5 ms 12 ms 100.0 MiB 50.0 GiB"
                .split(' ')
                .collect::<Vec<_>>(),
            "{text}"
        );
        assert!(
            lines.iter().any(|line| line.starts_with("q quit   s sort (by node)")),
            "{text}"
        );
        assert!(!text.contains('!'), "nothing is wrong\n{text}");
        // Sorted by writes the third node is first.
        screen.on_key(ratatui::crossterm::event::KeyCode::Char('s'));
        let lines = drawn(&screen, start + Duration::from_secs(2));
        assert!(lines[6].starts_with("3 "), "{}", lines.join("\n"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let (mut screen, start) = (Screen::new(), Instant::now());
        let mut status = cluster(0);
        status.members[2] = Member {
            id: 3,
            role: "voter".to_owned(),
            ..Member::default()
        };
        status.members[1].not_ready = Some("this node lags behind the cluster".to_owned());
        screen.take(Ok((status, start)));
        screen.trouble = Some(("connection refused".to_owned(), start));
        let text = drawn(&screen, start + Duration::from_secs(7)).join("\n");
        for part in [
            "! no node has answered for 7 s, what is shown is 7 s old: connection refused",
            "! node 3 is unreachable",
            "! node 2 is not ready: this node lags behind the cluster",
            "unreachable",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_small_terminal_shows_what_fits() {
        let (mut screen, start) = (Screen::new(), Instant::now());
        screen.take(Ok((cluster(0), start)));
        for (width, height) in [(1, 1), (20, 4), (80, 10), (300, 100)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(&screen, start, frame)).unwrap();
        }
    }
}
