//! How did it go over time?
//!
//! A bounded number of points: when they are full, each two become one and the interval doubles, so that nobody needs
//! to know beforehand how long a run takes.

use alloc::vec::Vec;

/// Points at most.
const MAX_POINTS: usize = 240;

/// What happened in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Point {
    /// Requests that came.
    pub come: u64,
    /// Requests that were answered, or whose client left.
    pub ended: u64,
    /// The time those took, summed up, in nanoseconds.
    pub time: f64,
    /// Requests that ended with an error, or whose client left.
    pub failed: u64,
    /// Requests with a key that was asked for before.
    pub keyed: u64,
    /// Those of them that another server answered than the time before.
    pub moved: u64,
}

impl Point {
    fn add(&mut self, other: &Self) {
        self.come += other.come;
        self.ended += other.ended;
        self.time += other.time;
        self.failed += other.failed;
        self.keyed += other.keyed;
        self.moved += other.moved;
    }
}

/// What happened at one server in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cell {
    /// Requests present, on average.
    pub load: f32,
    /// Requests that were sent to it.
    pub sent: u32,
}

/// A run over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    interval: u64,
    servers: usize,
    points: Vec<Point>,
    /// Interval by interval, server by server.
    cells: Vec<Cell>,
}

impl Series {
    /// An empty series of intervals that are at least this long.
    pub(crate) const fn new(interval: u64, servers: usize) -> Self {
        Self {
            interval,
            servers,
            points: Vec::new(),
            cells: Vec::new(),
        }
    }

    /// Adds an interval, with what happened at each server.
    pub(crate) fn push(&mut self, point: Point, cells: impl Iterator<Item = Cell>) {
        self.points.push(point);
        self.cells.extend(cells.take(self.servers));
    }

    /// Makes room where there is none; from then on the intervals are twice as long.
    pub(crate) fn make_room(&mut self) {
        if self.points.len() < MAX_POINTS {
            return;
        }
        self.interval *= 2;
        let servers = self.servers;
        for at in 0..self.points.len() / 2 {
            let mut point = self.points[2 * at];
            point.add(&self.points[2 * at + 1]);
            self.points[at] = point;
            for server in 0..servers {
                let (first, second) = (
                    self.cells[2 * at * servers + server],
                    self.cells[(2 * at + 1) * servers + server],
                );
                self.cells[at * servers + server] = Cell {
                    load: f32::midpoint(first.load, second.load),
                    sent: first.sent + second.sent,
                };
            }
        }
        self.points.truncate(MAX_POINTS / 2);
        self.cells.truncate(MAX_POINTS / 2 * servers);
    }

    /// The length of an interval in nanoseconds.
    #[must_use]
    pub const fn interval(&self) -> u64 {
        self.interval
    }

    /// The intervals, one after the other from the start.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// What happened at each server, interval by interval.
    pub fn cells(&self) -> impl Iterator<Item = &[Cell]> {
        self.cells.chunks(self.servers.max(1))
    }

    /// How uneven the load was in each interval: the deviation of the servers' loads in their mean; 0: there was none.
    ///
    /// `capacities` says what each server can do relative to the others: a server of twice the capacity with twice the
    /// requests is even.
    pub fn imbalance<'a>(&'a self, capacities: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        self.cells().map(move |cells| {
            let loads = || {
                cells
                    .iter()
                    .zip(capacities)
                    .map(|(cell, capacity)| f64::from(cell.load) / capacity)
            };
            let count = loads().count().max(1) as f64;
            let mean = loads().sum::<f64>() / count;
            let variance = loads().map(|load| (load - mean) * (load - mean)).sum::<f64>() / count;
            if mean > 0.0 { libm::sqrt(variance) / mean } else { 0.0 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, MAX_POINTS, Point, Series};

    fn full() -> Series {
        let mut series = Series::new(10, 2);
        for at in (0u16..).take(MAX_POINTS) {
            let point = Point {
                come: 1,
                time: 2.0,
                ..Point::default()
            };
            let cell = |load| Cell { load, sent: at.into() };
            series.push(point, [cell(at.into()), cell(1.0)].into_iter());
        }
        series
    }

    #[test]
    fn two_become_one_when_it_is_full() {
        let mut series = full();
        series.make_room();
        assert_eq!((series.interval(), series.points().len()), (20, MAX_POINTS / 2));
        assert!(series.points().iter().all(|point| point.come == 2 && point.time == 4.0));
        let cells = series.cells().nth(3).unwrap();
        assert_eq!(cells, [Cell { load: 6.5, sent: 13 }, Cell { load: 1.0, sent: 13 }]);
        series.make_room();
        assert_eq!(series.interval(), 20, "there is room");
    }

    #[test]
    fn imbalance_is_relative_to_capacity() {
        let mut series = Series::new(1, 2);
        let cell = |load| Cell { load, sent: 0 };
        series.push(Point::default(), [cell(2.0), cell(4.0)].into_iter());
        series.push(Point::default(), [cell(0.0), cell(4.0)].into_iter());
        series.push(Point::default(), [cell(0.0), cell(0.0)].into_iter());
        let found: std::vec::Vec<f64> = series.imbalance(&[1.0, 2.0]).collect();
        assert_eq!(found, [0.0, 1.0, 0.0]);
    }
}
