//! How does the picture look?
//!
//! Text made of a [`Model`]; knows no terminal beyond its width.

use std::time::Duration;

use isobar_plan::HealthState;

use super::model::{Model, ServerRow};
use crate::events;
use crate::picture::{Line, Tone, bar};

/// The widest bar, in cells.
const MAX_BAR: usize = 60;
/// Cells of a server's line beside its bar.
const BESIDE_BAR: usize = 20;

const KEYS: [(&str, &str); 5] = [
    ("1 2 3", "stop or start a server"),
    ("s", "slow"),
    ("f", "failing"),
    ("b", "balancing"),
    ("q", "quit"),
];

/// The whole picture for a terminal of this width; what is too long is cut off.
pub(super) fn picture(model: &Model, width: usize) -> Vec<Line> {
    let mut lines = vec![title(model)];
    if let Some(taken) = model.moved_from {
        lines.push(vec![(
            Tone::Unsure,
            format!(" port {} is taken; this is the next free one", taken.port()),
        )]);
    }
    lines.push(Line::new());
    for (number, server) in model.servers.iter().enumerate() {
        lines.push(server_line(number + 1, server));
        lines.push(bar_line(server, width));
        lines.push(Line::new());
    }
    lines.push(visitors_line(model));
    lines.push(Line::new());
    for (at, note) in &model.notes {
        lines.push(vec![
            (Tone::Faint, format!(" {} ", clock(*at))),
            (Tone::Plain, note.clone()),
        ]);
    }
    lines.push(Line::new());
    lines.push(keys_line());
    lines.iter_mut().for_each(|line| clip(line, width));
    lines
}

pub(super) fn clip(line: &mut Line, width: usize) {
    let mut left = width;
    for (_, text) in line {
        // Every character here takes one cell.
        *text = text.chars().take(left).collect();
        left -= text.chars().count();
    }
}

fn title(model: &Model) -> Line {
    vec![
        (Tone::Strong, " Isobar".to_owned()),
        (Tone::Plain, format!("   http://{}   {}", model.listen, model.balance)),
        (Tone::Faint, format!("   {}", clock(model.elapsed))),
    ]
}

fn server_line(number: usize, server: &ServerRow) -> Line {
    vec![
        (Tone::Strong, format!(" {number} {:<7}", server.name)),
        (Tone::Faint, format!(" {:<16}", server.address)),
        (
            health_tone(server.health),
            format!(" {:<10}", events::health(server.health)),
        ),
        (
            Tone::Plain,
            format!(
                " in flight {:>3}  p50 {:>7}  p99 {:>7}",
                server.in_flight,
                latency(server.median),
                latency(server.p99)
            ),
        ),
    ]
}

fn bar_line(server: &ServerRow, width: usize) -> Line {
    let cells = width.saturating_sub(BESIDE_BAR).min(MAX_BAR);
    let (filled, rest) = bar(server.share, cells);
    vec![
        (Tone::Plain, "   ".to_owned()),
        (health_tone(server.health), filled),
        (Tone::Faint, rest),
        (Tone::Strong, format!(" {:>5.1} %", server.share * 100.0)),
    ]
}

fn visitors_line(model: &Model) -> Line {
    let visitors = model.visitors;
    vec![
        (Tone::Strong, format!(" {} visitors", visitors.count)),
        (
            Tone::Plain,
            format!("   {:.0} requests/s   {} answered", visitors.rate, visitors.answers),
        ),
        failures(visitors.failures),
    ]
}

fn failures(count: u64) -> (Tone, String) {
    (
        if count == 0 { Tone::Good } else { Tone::Bad },
        format!("   {count} failed"),
    )
}

fn keys_line() -> Line {
    let pieces = KEYS
        .iter()
        .flat_map(|(key, does)| [(Tone::Strong, format!(" {key}")), (Tone::Faint, format!(" {does}  "))]);
    pieces.collect()
}

fn health_tone(health: HealthState) -> Tone {
    match health {
        HealthState::Unknown => Tone::Unsure,
        HealthState::Healthy => Tone::Good,
        HealthState::Unhealthy => Tone::Bad,
    }
}

/// Everything in one line, for where there is no terminal.
pub(super) fn line(model: &Model) -> String {
    let server = |row: &ServerRow| {
        format!(
            "{} {:.0} % (in flight {}, p50 {}, p99 {}, {})",
            row.name,
            row.share * 100.0,
            row.in_flight,
            latency(row.median),
            latency(row.p99),
            events::health(row.health)
        )
    };
    let servers: Vec<_> = model.servers.iter().map(server).collect();
    format!(
        "{} {} {}: {:.0} requests/s, {} answered, {} failed: {}",
        clock(model.elapsed),
        model.listen,
        model.balance,
        model.visitors.rate,
        model.visitors.answers,
        model.visitors.failures,
        servers.join(", ")
    )
}

pub(super) fn latency(value: Option<Duration>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < Duration::from_millis(100) => format!("{:.1} ms", value.as_secs_f64() * 1e3),
        Some(value) => format!("{:.0} ms", value.as_secs_f64() * 1e3),
    }
}

pub(super) fn clock(elapsed: Duration) -> String {
    format!("{:02}:{:02}", elapsed.as_secs() / 60, elapsed.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::DemoOptions;

    fn model() -> Model {
        let mut model = Model::new("127.0.0.1:8080".parse().unwrap(), &DemoOptions::default());
        for (row, share) in model.servers.iter_mut().zip([0.6, 0.3, 0.1]) {
            row.address = "127.0.0.1:45678".to_owned();
            row.share = share;
            row.median = Some(Duration::from_micros(12_340));
            row.p99 = Some(Duration::from_millis(123));
            row.health = HealthState::Healthy;
        }
        model
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut model = model();
        model.servers[2].health = HealthState::Unhealthy;
        for width in [0, 20, 80, 100, 200] {
            for line in picture(&model, width) {
                let cells: usize = line.iter().map(|(_, text)| text.chars().count()).sum();
                assert!(cells <= width, "{cells} cells of {width}: {line:?}");
            }
        }
    }

    #[test]
    fn nothing_is_cut_off_at_the_usual_width() {
        let model = model();
        assert_eq!(picture(&model, 80), picture(&model, 1000));
    }

    #[test]
    fn the_plain_line_says_it_all() {
        let mut model = model();
        model.elapsed = Duration::from_secs(61);
        model.visitors.rate = 201.4;
        model.visitors.answers = 1234;
        assert_eq!(
            line(&model),
            "01:01 127.0.0.1:8080 least_connections: 201 requests/s, 1234 answered, 0 failed: \
             fast 60 % (in flight 0, p50 12.3 ms, p99 123 ms, healthy), \
             medium 30 % (in flight 0, p50 12.3 ms, p99 123 ms, healthy), \
             slow 10 % (in flight 0, p50 12.3 ms, p99 123 ms, healthy)"
        );
    }
}
