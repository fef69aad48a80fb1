//! How is a curve drawn?
//!
//! Charts as SVG, by hand: no script, nothing from elsewhere. Colours are classes that the page's style gives a
//! meaning, so that a chart follows the reader's theme. Knows nothing of what they are about.

use std::fmt::Write as _;

/// The size of a chart in its own units, so chosen that its words are of one size on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// As wide as the page.
    Wide,
    /// Half as wide.
    Half,
}

impl Size {
    const fn width(self) -> f64 {
        match self {
            Self::Wide => 1080.0,
            Self::Half => 510.0,
        }
    }

    const fn height(self) -> f64 {
        match self {
            Self::Wide => 360.0,
            Self::Half => 250.0,
        }
    }
}

/// What is around the area that is drawn on.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 42.0;

/// A chart.
pub(crate) struct Chart<'a> {
    /// What it shows, for those who cannot see it.
    pub(crate) title: &'a str,
    pub(crate) size: Size,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) bands: Vec<Band>,
    pub(crate) curves: Vec<Curve>,
    /// Moments that have a word.
    pub(crate) marks: Vec<(f64, String)>,
}

/// One direction of a chart.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub(crate) label: String,
    pub(crate) scale: Scale,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) write: fn(f64) -> String,
}

/// How far numbers are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// By their difference.
    Linear,
    /// By their ratio.
    Log,
}

/// A line through points, in the order of `x`.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    /// The classes that give it its colour and dashes.
    pub(crate) class: String,
    /// What a pointer that rests on it is told.
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// The area between two lines.
#[derive(Debug, Clone)]
pub(crate) struct Band {
    pub(crate) class: String,
    /// `x`, and the lower and the upper `y`.
    pub(crate) points: Vec<(f64, f64, f64)>,
}

impl Axis {
    /// Where a number lies, from 0 to 1; outside of that where it is outside of the axis.
    fn place(&self, number: f64) -> f64 {
        match self.scale {
            Scale::Linear => (number - self.from) / (self.to - self.from),
            Scale::Log => (number.max(f64::MIN_POSITIVE) / self.from).ln() / (self.to / self.from).ln(),
        }
    }

    /// The numbers that are written along it.
    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => linear_ticks(self.from, self.to),
            Scale::Log => log_ticks(self.from, self.to),
        }
    }
}

/// About five round numbers.
fn linear_ticks(from: f64, to: f64) -> Vec<f64> {
    let rough = (to - from) / 5.0;
    if rough <= 0.0 || !rough.is_finite() {
        return vec![from];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let first = (from / step).ceil();
    (0..20)
        .map(|at| (first + f64::from(at)) * step)
        .take_while(|tick| *tick <= to + step * 1e-9)
        .collect()
}

/// Powers of ten; where there are few, their doubles and fivefold too.
fn log_ticks(from: f64, to: f64) -> Vec<f64> {
    let decades = (to / from).log10();
    let factors: &[f64] = if decades <= 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let first = from.log10().floor();
    let powers = (0..20).map(|at| 10f64.powf(first + f64::from(at)));
    powers
        .flat_map(|power| factors.iter().map(move |factor| factor * power))
        .filter(|tick| *tick >= from * (1.0 - 1e-9) && *tick <= to * (1.0 + 1e-9))
        .collect()
}

impl Chart<'_> {
    /// The chart as an SVG element.
    pub(crate) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
            self.size.width(),
            self.size.height(),
            escape(self.title)
        );
        self.write_grid(&mut svg);
        self.write_marks(&mut svg);
        // A view of its own cuts off what runs out of the area.
        let (width, height) = (self.right() - LEFT, self.bottom() - TOP);
        let _ = write!(
            svg,
            "<svg x=\"{LEFT}\" y=\"{TOP}\" width=\"{width}\" height=\"{height}\" viewBox=\"{LEFT} {TOP} {width} \
             {height}\" overflow=\"hidden\">"
        );
        self.bands.iter().for_each(|band| self.write_band(band, &mut svg));
        self.curves.iter().for_each(|curve| self.write_curve(curve, &mut svg));
        svg.push_str("</svg></svg>");
        svg
    }

    const fn right(&self) -> f64 {
        self.size.width() - RIGHT
    }

    const fn bottom(&self) -> f64 {
        self.size.height() - BOTTOM
    }

    fn x(&self, number: f64) -> f64 {
        LEFT + self.x.place(number) * (self.right() - LEFT)
    }

    /// Kept within twice the area, so that a number past every bound does no harm.
    fn y(&self, number: f64) -> f64 {
        self.bottom() - self.y.place(number).clamp(-1.0, 2.0) * (self.bottom() - TOP)
    }

    fn write_grid(&self, svg: &mut String) {
        let (right, bottom) = (self.right(), self.bottom());
        // Writing to a string never fails.
        for tick in self.y.ticks() {
            let y = self.y(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            );
            let text = escape(&(self.y.write)(tick));
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 7.0,
                y + 3.5
            );
        }
        for tick in self.x.ticks() {
            let x = self.x(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
            );
            let text = escape(&(self.x.write)(tick));
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                bottom + 15.0
            );
        }
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"
        );
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            self.size.height() - 8.0,
            escape(&self.x.label)
        );
        let _ = write!(
            svg,
            "<text class=\"label\" x=\"0\" y=\"12\">{}</text>",
            escape(&self.y.label)
        );
    }

    fn write_marks(&self, svg: &mut String) {
        let bottom = self.bottom();
        let mut free_from = [f64::NEG_INFINITY; 2];
        let within = self
            .marks
            .iter()
            .filter(|(at, _)| (0.0..=1.0).contains(&self.x.place(*at)));
        for (at, text) in within {
            let x = self.x(*at);
            let _ = write!(
                svg,
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
            );
            // Two rows of words; what fits in neither stays a line.
            let width = 6.0 * text.chars().count() as f64 + 10.0;
            let start = x.min(self.size.width() - width);
            if let Some(row) = free_from.iter().position(|free| *free <= start) {
                free_from[row] = start + width;
                let y = TOP + 11.0 + 12.0 * row as f64;
                let _ = write!(
                    svg,
                    "<text class=\"marked\" x=\"{:.1}\" y=\"{y}\">{}</text>",
                    start + 3.0,
                    escape(text)
                );
            }
        }
    }

    fn write_band(&self, band: &Band, svg: &mut String) {
        let upper = band.points.iter().map(|&(x, _, upper)| (x, upper));
        let lower = band.points.iter().rev().map(|&(x, lower, _)| (x, lower));
        let _ = write!(
            svg,
            "<path class=\"{}\" d=\"{}Z\"/>",
            band.class,
            self.path(upper.chain(lower))
        );
    }

    fn write_curve(&self, curve: &Curve, svg: &mut String) {
        let path = self.path(curve.points.iter().copied());
        let _ = write!(
            svg,
            "<path class=\"curve {}\" d=\"{path}\"><title>{}</title></path>",
            curve.class,
            escape(&curve.name)
        );
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (x, y) in points.filter(|(x, y)| x.is_finite() && y.is_finite()) {
            let step = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{step}{:.1} {:.1}", self.x(x), self.y(y));
        }
        path
    }
}

/// A text as it may stand in HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale, from: f64, to: f64) -> Axis {
        Axis {
            label: "<x>".to_owned(),
            scale,
            from,
            to,
            write: |number| number.to_string(),
        }
    }

    #[test]
    fn ticks_are_round_and_few() {
        let check = |scale, from, to, expected: &[f64]| {
            let ticks = axis(scale, from, to).ticks();
            assert_eq!(ticks.len(), expected.len(), "{ticks:?}");
            for (tick, expected) in ticks.iter().zip(expected) {
                assert!((tick - expected).abs() <= 1e-9 * expected.abs(), "{ticks:?}");
            }
        };
        check(Scale::Linear, 0.0, 10.0, &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        check(Scale::Linear, 0.0, 0.33, &[0.0, 0.1, 0.2, 0.3]);
        check(Scale::Linear, 0.0, 0.0, &[0.0]);
        check(Scale::Log, 1.0, 30.0, &[1.0, 2.0, 5.0, 10.0, 20.0]);
        check(Scale::Log, 1e-5, 1.0, &[1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0]);
    }

    #[test]
    fn what_is_drawn_stays_inside_and_is_escaped() {
        let chart = Chart {
            title: "a \"title\"",
            size: Size::Half,
            x: axis(Scale::Linear, 0.0, 10.0),
            y: axis(Scale::Log, 1.0, 100.0),
            bands: vec![Band {
                class: "band".to_owned(),
                points: vec![(0.0, 1.0, 10.0), (10.0, 1.0, f64::INFINITY)],
            }],
            curves: vec![Curve {
                class: "c0".to_owned(),
                name: "a & b".to_owned(),
                points: vec![(0.0, 1.0), (5.0, f64::NAN), (10.0, 100.0)],
            }],
            marks: vec![
                (5.0, "here".to_owned()),
                (5.1, "there".to_owned()),
                (5.2, "nowhere".to_owned()),
            ],
        };
        let svg = chart.svg();
        assert!(svg.contains("d=\"M62.0 208.0L496.0 26.0\""), "{svg}");
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;x&gt;") && svg.contains("a &quot;title&quot;"));
        assert!(svg.contains(">here<") && svg.contains(">there<") && !svg.contains(">nowhere<"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
