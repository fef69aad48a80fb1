//! How do the scenes look?

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::view::{clip, clock, latency};
use super::scene::Scene;
use super::users::{Answer, Seen};
use crate::picture::{Line, Tone, bar};

/// Cells of the bar of what is left.
const LEFT_BAR: usize = 10;
/// What a limit of the scene has at most.
const MOST_LEFT: u64 = 10;

/// What is known of a scene.
pub(super) struct Picture {
    pub(super) scene: Scene,
    pub(super) listen: SocketAddr,
    /// Since the scene began, or changed.
    pub(super) elapsed: Duration,
    pub(super) users: Vec<Seen>,
}

/// Which of the objects it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    OneOfMany,
    Last,
}

impl Picture {
    /// The picture for a terminal of this width; what is too long is cut off.
    pub(super) fn lines(&self, width: usize) -> Vec<Line> {
        let mut lines = vec![
            self.title(),
            vec![(Tone::Faint, format!(" {}", self.explanation()))],
            Line::new(),
        ];
        lines.push(self.head());
        for user in &self.users {
            lines.push(self.row(user));
            lines.push(last(user));
            lines.push(Line::new());
        }
        lines.push(legend());
        lines.push(Line::new());
        lines.push(self.keys());
        lines.iter_mut().for_each(|line| clip(line, width));
        lines
    }

    fn title(&self) -> Line {
        vec![
            (Tone::Strong, " Isobar".to_owned()),
            (Tone::Plain, format!("  http://{}  ", self.listen)),
            (Tone::Strong, self.scene.rules()),
            (Tone::Faint, format!("  {}", clock(self.elapsed))),
        ]
    }

    fn explanation(&self) -> &'static str {
        match self.scene {
            Scene::Users(_) => "One limit for each user. The bad one asks ten times as often as the good one.",
            Scene::FairShare(_) => "A server of 100 requests/s. dora asks for 100 times as much as any other.",
        }
    }

    fn head(&self) -> Line {
        let last = match self.scene {
            Scene::Users(_) => "   tokens left",
            Scene::FairShare(_) => "      p50      p99",
        };
        vec![(
            Tone::Faint,
            format!(
                " {:<6}{:>8}{:>8}{:>8}{:>9}{:>9}{last}",
                "", "asks/s", "200/s", "429/s", "200", "429"
            ),
        )]
    }

    fn row(&self, user: &Seen) -> Line {
        let refused = match user.counts.too_many + user.counts.failed {
            0 => Tone::Good,
            _ => Tone::Bad,
        };
        let mut line = vec![
            (Tone::Strong, format!(" {:<6}", user.person.name)),
            (
                Tone::Plain,
                format!(
                    "{:>8}{:>8.0}{:>8.0}",
                    user.person.rate, user.served_rate, user.too_many_rate
                ),
            ),
            (Tone::Good, format!("{:>9}", user.counts.served)),
            (refused, format!("{:>9}", user.counts.too_many)),
        ];
        match self.scene {
            Scene::Users(_) => line.extend(left(user.left)),
            Scene::FairShare(_) => {
                line.push((Tone::Plain, format!("{:>9}{:>9}", latency(user.p50), latency(user.p99))));
            }
        }
        if user.counts.failed > 0 {
            line.push((Tone::Unsure, format!("  {} ?", user.counts.failed)));
        }
        line
    }

    fn keys(&self) -> Line {
        let own = match self.scene {
            Scene::Users(_) => (" a", " next algorithm  "),
            Scene::FairShare(_) => (" f", " fair share on or off  "),
        };
        let keys = [own, (" n", " next scene  "), (" q", " quit")];
        let pieces = keys.map(|(key, does)| [(Tone::Strong, key.to_owned()), (Tone::Faint, does.to_owned())]);
        pieces.into_iter().flatten().collect()
    }

    /// Everything in one line, for where there is no terminal.
    pub(super) fn line(&self) -> String {
        let users: Vec<_> = self.users.iter().map(|user| self.in_words(user)).collect();
        format!(
            "{} {} {}: {}",
            clock(self.elapsed),
            self.listen,
            self.scene.rules(),
            users.join(", ")
        )
    }

    fn in_words(&self, user: &Seen) -> String {
        let of_scene = match self.scene {
            Scene::Users(_) => user.left.map_or_else(String::new, |left| format!(", {left} left")),
            Scene::FairShare(_) => format!(", p50 {}, p99 {}", latency(user.p50), latency(user.p99)),
        };
        let failed = match user.counts.failed {
            0 => String::new(),
            failed => format!(", {failed} otherwise"),
        };
        format!(
            "{} {} of 200, {} of 429 ({:.0}/s and {:.0}/s{of_scene}{failed})",
            user.person.name, user.counts.served, user.counts.too_many, user.served_rate, user.too_many_rate
        )
    }

    /// What it came to.
    pub(super) fn summary(&self) -> String {
        let mut lines = vec![format!(
            "{} after {:.0} s:",
            self.scene.rules(),
            self.elapsed.as_secs_f64()
        )];
        for user in &self.users {
            let served = 100.0 * user.counts.served as f64 / user.counts.all().max(1) as f64;
            lines.push(format!(
                "  {:<5} {:>6} requests, {served:>5.1} % served, p50 {}, p99 {}",
                user.person.name,
                user.counts.all(),
                latency(user.p50),
                latency(user.p99)
            ));
        }
        lines.join("\n")
    }

    /// The same for programs.
    pub(super) fn json(&self, which: Which) -> Value {
        let milliseconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64() * 1e3);
        let user = |user: &Seen| {
            json!({
                "name": user.person.name,
                "asks_per_second": user.person.rate,
                "200": user.counts.served,
                "429": user.counts.too_many,
                "failed": user.counts.failed,
                "left": user.left,
                "p50_ms": milliseconds(user.p50),
                "p99_ms": milliseconds(user.p99),
            })
        };
        json!({
            "scene": self.scene.name(),
            "rules": self.scene.rules(),
            "seconds": self.elapsed.as_secs_f64(),
            "users": self.users.iter().map(user).collect::<Vec<_>>(),
            "end": which == Which::Last,
        })
    }
}

fn left(left: Option<u64>) -> Vec<(Tone, String)> {
    let Some(left) = left else {
        return vec![(Tone::Faint, "   -".to_owned())];
    };
    let (filled, rest) = bar(left as f64 / MOST_LEFT as f64, LEFT_BAR);
    vec![
        (Tone::Plain, "   ".to_owned()),
        (Tone::Good, filled),
        (Tone::Faint, rest),
        (Tone::Plain, format!(" {left:>2}")),
    ]
}

/// The last answers, one by one.
fn last(user: &Seen) -> Line {
    let mut line = vec![(Tone::Plain, "        ".to_owned())];
    for answer in &user.last {
        let (tone, sign) = match answer {
            Answer::Served => (Tone::Good, "●"),
            Answer::TooMany => (Tone::Bad, "×"),
            Answer::Failed => (Tone::Unsure, "?"),
        };
        line.push((tone, sign.to_owned()));
    }
    line
}

fn legend() -> Line {
    vec![
        (Tone::Good, " ●".to_owned()),
        (Tone::Faint, " 200".to_owned()),
        (Tone::Bad, "   ×".to_owned()),
        (Tone::Faint, " 429".to_owned()),
        (Tone::Unsure, "   ?".to_owned()),
        (Tone::Faint, " another answer, or none".to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use isobar_config::document::LimitAlgorithm;

    use super::super::scene::Sharing;
    use super::super::users::Counts;
    use super::*;

    fn picture(scene: Scene) -> Picture {
        let user = |person: &super::super::scene::Person| Seen {
            person: *person,
            counts: Counts {
                served: 123_456,
                too_many: 1_234_567,
                failed: 0,
            },
            served_rate: 70.4,
            too_many_rate: 930.0,
            p50: Some(Duration::from_micros(81_200)),
            p99: Some(Duration::from_millis(1_234)),
            last: [Answer::Served, Answer::TooMany, Answer::Failed].repeat(20),
            left: Some(7),
        };
        Picture {
            scene,
            listen: "127.0.0.1:8080".parse().unwrap(),
            elapsed: Duration::from_secs(61),
            users: scene.people().iter().map(user).collect(),
        }
    }

    #[test]
    fn nothing_is_cut_off_at_the_usual_width_and_height() {
        let algorithms = LimitAlgorithm::OF_REQUESTS.map(Scene::Users);
        for scene in algorithms
            .into_iter()
            .chain([Sharing::Fair, Sharing::FirstCome].map(Scene::FairShare))
        {
            let picture = picture(scene);
            assert_eq!(picture.lines(80), picture.lines(1_000));
            assert!(picture.lines(80).len() <= 24);
            for line in picture.lines(20) {
                let cells: usize = line.iter().map(|(_, text)| text.chars().count()).sum();
                assert!(cells <= 20);
            }
        }
    }

    #[test]
    fn the_plain_line_says_it_all() {
        let picture = picture(Scene::Users(LimitAlgorithm::Gcra));
        assert_eq!(
            picture.line(),
            "01:01 127.0.0.1:8080 algorithm: gcra, rate: 10/s: good 123456 of 200, 1234567 of 429 (70/s and 930/s, 7 left), \
             bad 123456 of 200, 1234567 of 429 (70/s and 930/s, 7 left)"
        );
    }
}
