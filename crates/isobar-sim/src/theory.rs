//! What does queueing theory say?
//!
//! Times are in mean service times, loads are the part of a server's time that is asked for, below 1. Nothing here
//! simulates: these are the figures that simulations are held against.

/// Mean time in an M/M/1 queue, which is what each server is under random choice.
#[must_use]
pub fn mm1_mean(load: f64) -> f64 {
    1.0 / (1.0 - load)
}

/// Mean time in an M/G/1 queue served in order; `squared_variation` is the variance of the service time in squared
/// means.
///
/// *Source*: Pollaczek and Khinchine.
#[must_use]
pub fn mg1_mean(load: f64, squared_variation: f64) -> f64 {
    1.0 + load / (1.0 - load) * f64::midpoint(1.0, squared_variation)
}

/// The probability that a request has to wait in an M/M/n queue, at this load of each server.
///
/// *Source*: Erlang's C formula, by way of the recursion for his B formula, in which nothing overflows.
/// *Cost*: linear in the number of servers.
#[must_use]
pub fn erlang_c(servers: u32, load: f64) -> f64 {
    let offered = load * f64::from(servers);
    let blocked = (1..=servers).fold(1.0, |blocked, k| {
        let weighed = offered * blocked;
        weighed / (f64::from(k) + weighed)
    });
    blocked / (1.0 - load * (1.0 - blocked))
}

/// Mean time in an M/M/n queue: one line for all servers, which no choice of a server on arrival can better.
#[must_use]
pub fn mmn_mean(servers: u32, load: f64) -> f64 {
    1.0 + erlang_c(servers, load) / (f64::from(servers) * (1.0 - load))
}

/// The probability that a request stays longer than `time` in an M/M/n queue served in order.
#[must_use]
pub fn mmn_tail(servers: u32, load: f64, time: f64) -> f64 {
    let waits = erlang_c(servers, load);
    let drain = f64::from(servers) * (1.0 - load);
    let served = libm::exp(-time);
    let difference = drain - 1.0;
    // A wait and then a service, both exponential; where their rates agree the formula is replaced by its limit.
    let both = if difference.abs() < 1e-9 {
        (1.0 + time) * served
    } else {
        (drain * served - libm::exp(-drain * time)) / difference
    };
    (1.0 - waits) * served + waits * both
}

/// The probability that a request finds its server busy under round robin over this many servers: each sees every
/// n-th request, an E_n/M/1 queue, in which a request stays exponentially long with mean `1 / (1 - σ)`.
///
/// *Source*: Kleinrock, "Queueing systems" I (1975), section 6.4: σ is the root below 1 of
/// `σ = A*(μ - μσ)`, with the transform of the Erlang distribution put in.
#[must_use]
pub fn round_robin_busy(servers: u32, load: f64) -> f64 {
    let n = f64::from(servers);
    let excess = |sigma: f64| libm::exp(-n * libm::log1p((1.0 - sigma) / (n * load))) - sigma;
    let (mut low, mut high) = (0.0, 1.0 - 1e-12);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if excess(middle) > 0.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Mean time under round robin over this many servers with exponential service.
#[must_use]
pub fn round_robin_mean(servers: u32, load: f64) -> f64 {
    1.0 / (1.0 - round_robin_busy(servers, load))
}

/// The part of servers with at least `length` requests when each request takes the least busy of `choices` servers
/// drawn at random, as the number of servers grows without bound.
///
/// *Source*: Vvedenskaya, Dobrushin and Karpelevich (1996); Mitzenmacher, "The power of two choices in randomized
/// load balancing" (1996).
#[must_use]
pub fn choices_at_least(choices: u32, load: f64, length: u32) -> f64 {
    let d = f64::from(choices);
    let exponent = if choices == 1 {
        f64::from(length)
    } else {
        (libm::pow(d, f64::from(length)) - 1.0) / (d - 1.0)
    };
    libm::pow(load, exponent)
}

/// Mean time when each request takes the least busy of `choices` servers drawn at random, for many servers.
#[must_use]
pub fn choices_mean(choices: u32, load: f64) -> f64 {
    // By Little's law, the mean number at a server over the load of one.
    let lengths = (1..).map(|length| choices_at_least(choices, load, length));
    lengths.take_while(|&part| part > 1e-12).sum::<f64>() / load
}

/// The probability that a request stays longer than `time` under the same rule, served in order.
#[must_use]
pub fn choices_tail(choices: u32, load: f64, time: f64) -> f64 {
    let d = f64::from(choices);
    let mut sum = 0.0;
    let mut poisson = libm::exp(-time);
    for before in 0..10_000 {
        // It is still there when fewer services than it found requests ahead, and its own, are over.
        let found = libm::pow(choices_at_least(choices, load, before), d);
        if found < 1e-15 {
            break;
        }
        sum += poisson * found;
        poisson *= time / f64::from(before + 1);
    }
    sum
}

/// The part of bins with at least `length` balls after as many balls as there are bins, each put into the least full
/// of `choices` bins drawn at random; the first of them is `length` 1.
///
/// *Source*: the differential equations of Mitzenmacher's thesis (1996), solved by Runge and Kutta's method.
fn bins_at_least(choices: u32) -> [f64; BINS] {
    const STEPS: u32 = 2_000;
    let step = 1.0 / f64::from(STEPS);
    let powered = |part: f64| libm::pow(part, f64::from(choices));
    let slope = |parts: &[f64; BINS]| {
        let mut above = 1.0;
        parts.map(|part| {
            let change = powered(above) - powered(part);
            above = part;
            change
        })
    };
    let moved =
        |parts: &[f64; BINS], slope: &[f64; BINS], by: f64| core::array::from_fn(|at| parts[at] + by * slope[at]);
    let mut parts = [0.0; BINS];
    for _ in 0..STEPS {
        let first = slope(&parts);
        let second = slope(&moved(&parts, &first, step / 2.0));
        let third = slope(&moved(&parts, &second, step / 2.0));
        let fourth = slope(&moved(&parts, &third, step));
        parts = core::array::from_fn(|at| {
            parts[at] + step / 6.0 * (first[at] + 2.0 * second[at] + 2.0 * third[at] + fourth[at])
        });
    }
    parts
}

/// Balls in a bin that are followed; more than this have a probability below 1e-20.
const BINS: usize = 24;

/// The mean number of balls in the fullest of `bins` bins, after as many balls as bins, each put into the least full
/// of `choices` bins drawn at random.
///
/// Bins are taken for independent, which is right within a few hundredths of a ball from a hundred bins on.
#[must_use]
pub fn largest_bin(bins: u32, choices: u32) -> f64 {
    let parts = bins_at_least(choices);
    let bins = f64::from(bins);
    parts.iter().map(|&part| -libm::expm1(bins * libm::log1p(-part))).sum()
}

#[cfg(test)]
mod tests;
