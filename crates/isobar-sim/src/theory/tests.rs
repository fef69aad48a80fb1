//! Theory's own numbers, against published ones and against each other.

use super::*;
use isobar_balance::Chance;
use std::vec;
use std::vec::Vec;

#[track_caller]
fn near(found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() <= within, "{found} instead of {expected}");
}

/// Erlang's tables: 10 servers offered 8 erlang wait with probability 0.4092; one server with its load.
#[test]
fn erlang_c_is_as_in_the_tables() {
    near(erlang_c(1, 0.7), 0.7, 1e-12);
    near(erlang_c(2, 0.5), 1.0 / 3.0, 1e-12);
    near(erlang_c(10, 0.8), 0.4092, 5e-5);
    near(mmn_mean(1, 0.9), mm1_mean(0.9), 1e-9);
    near(mmn_mean(100, 0.9), 1.0217, 5e-5);
    assert!(erlang_c(100_000, 0.999).is_finite(), "nothing overflows");
}

#[test]
fn pollaczek_and_khinchine_agree_with_the_special_cases() {
    near(mg1_mean(0.8, 1.0), mm1_mean(0.8), 1e-12);
    // M/D/1 waits half as long as M/M/1.
    near(mg1_mean(0.8, 0.0) - 1.0, (mm1_mean(0.8) - 1.0) / 2.0, 1e-12);
}

/// One server sees all requests; with many their times become regular, a D/M/1 queue: at load 0.9, σ = 0.8069.
#[test]
fn round_robin_lies_between_its_extremes() {
    near(round_robin_mean(1, 0.9), mm1_mean(0.9), 1e-6);
    let regular = |sigma: f64| libm::exp(-(1.0 - sigma) / 0.9) - sigma;
    let sigma = round_robin_busy(1_000_000, 0.9);
    near(regular(sigma), 0.0, 1e-6);
    near(round_robin_mean(1_000_000, 0.9), 5.1787, 1e-3);
    assert!(round_robin_mean(100, 0.9) < round_robin_mean(10, 0.9));
}

/// The means that Mitzenmacher's thesis predicts for two choices; for three, the first terms of the sum.
#[test]
fn choices_have_the_published_means() {
    near(choices_mean(1, 0.9), 10.0, 1e-6);
    for (load, two) in [(0.5, 1.2657), (0.7, 1.6145), (0.9, 2.6141), (0.95, 3.3830)] {
        near(choices_mean(2, load), two, 1e-4);
        let three: f64 = [0, 3, 12, 39, 120, 363, 1092]
            .map(|power| load.powi(power))
            .iter()
            .sum();
        near(choices_mean(3, load), three, 1e-9);
    }
}

/// A tail that begins at 1 and whose area is the mean.
#[test]
fn tails_belong_to_their_means() {
    let check = |tail: &dyn Fn(f64) -> f64, mean: f64| {
        near(tail(0.0), 1.0, 1e-9);
        let step = 0.01;
        let area: f64 = (0..20_000).map(|at| tail((f64::from(at) + 0.5) * step) * step).sum();
        near(area, mean, 1e-3 * mean);
    };
    for load in [0.3, 0.9] {
        check(&|time| mmn_tail(1, load, time), mm1_mean(load));
        check(&|time| mmn_tail(10, load, time), mmn_mean(10, load));
        check(&|time| choices_tail(1, load, time), mm1_mean(load));
        check(&|time| choices_tail(2, load, time), choices_mean(2, load));
        check(&|time| choices_tail(3, load, time), choices_mean(3, load));
    }
    check(&|time| mmn_tail(10, 0.9, time), mmn_mean(10, 0.9));
}

/// With two choices the first part is tanh 1; with one choice the parts are those of a Poisson variable of mean 1.
#[test]
fn bins_are_as_solved_by_hand() {
    near(bins_at_least(2)[0], 1f64.tanh(), 1e-9);
    let one = bins_at_least(1);
    near(one[0], 1.0 - (-1f64).exp(), 1e-9);
    near(one[1], 1.0 - 2.0 * (-1f64).exp(), 1e-9);
}

/// The fullest of 1000 bins over 400 trials of seed 6, within 0.1 balls.
#[test]
fn the_fullest_bin_is_found_by_throwing() {
    let mut chance = Chance::new(6);
    for choices in [1, 2, 3] {
        let mut sum = 0;
        for _ in 0..400 {
            let mut bins: Vec<u32> = vec![0; 1000];
            for _ in 0..bins.len() {
                let least = (0..choices).map(|_| chance.index(1000)).min_by_key(|&bin| bins[bin]);
                bins[least.unwrap()] += 1;
            }
            sum += bins.iter().max().unwrap();
        }
        near(largest_bin(1000, choices), f64::from(sum) / 400.0, 0.1);
    }
}
