//! What is the workload like? Asked of a person, a question a line.

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::arguments::{Affinity, Cost, Hardware, Lifetime, Workload, load};

/// Asks everything; an empty answer, and the end of the input, takes what stands in brackets.
///
/// *Errors*: the terminal is gone.
pub(super) fn ask(input: &mut impl BufRead, output: &mut impl Write) -> Result<Workload> {
    let mut person = Person { input, output };
    Ok(Workload {
        servers: person.ask("How many servers are there?", "10", |text| number(text, 2000))?,
        hardware: person.choose::<Hardware>("How fast are they?", "equal")?,
        balancers: person.ask("How many instances balance, each for itself?", "1", |text| {
            number(text, 1000)
        })?,
        cost: person.choose::<Cost>("How much does the time vary that requests take?", "varied")?,
        lifetime: person.choose::<Lifetime>("How long do requests or connections last?", "short")?,
        affinity: person.choose::<Affinity>("Does a server answer better what it has seen before?", "none")?,
        load: person.ask("How busy are the servers on average, 0 to 1?", "0.7", load)?,
    })
}

fn number(text: &str, most: u32) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("expected a whole number from 1 to {most}"))
}

/// Who answers.
struct Person<'a, I, O> {
    input: &'a mut I,
    output: &'a mut O,
}

impl<I: BufRead, O: Write> Person<'_, I, O> {
    fn choose<T: ValueEnum>(&mut self, question: &str, default: &str) -> Result<Option<T>> {
        for value in T::value_variants().iter().filter_map(ValueEnum::to_possible_value) {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            self.say(&format!("   {:<8} {help}\n", value.get_name()))?;
        }
        let known = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<String> = known.map(|value| value.get_name().to_owned()).collect();
        self.ask(question, default, |text| {
            T::from_str(text, true).map_err(|_| format!("expected one of {}", names.join(", ")))
        })
    }

    /// Asks until the answer is one; none: the question was passed over, which is what stands in brackets.
    fn ask<T>(&mut self, question: &str, default: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>> {
        loop {
            self.say(&format!(" {question} [{default}] "))?;
            let mut answer = String::new();
            let length = self.input.read_line(&mut answer).context("failed to read an answer")?;
            let answer = answer.trim();
            if length == 0 || answer.is_empty() {
                return Ok(None);
            }
            match read(answer) {
                Ok(value) => return Ok(Some(value)),
                Err(reason) => self.say(&format!("   {reason}\n"))?,
            }
        }
    }

    fn say(&mut self, text: &str) -> Result<()> {
        let said = self
            .output
            .write_all(text.as_bytes())
            .and_then(|()| self.output.flush());
        said.context("failed to ask")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(text: &str) -> (Workload, String) {
        let mut output = Vec::new();
        let workload = ask(&mut text.as_bytes(), &mut output).unwrap();
        (workload, String::from_utf8(output).unwrap())
    }

    #[test]
    fn answers_are_taken_and_wrong_ones_asked_again() {
        let (workload, said) = answers("12\nsome\nmixed\n\neven\nlong\ncache\n2\n0.9\n");
        assert_eq!(
            (workload.servers, workload.balancers, workload.load),
            (Some(12), None, Some(0.9))
        );
        assert_eq!(workload.hardware, Some(Hardware::Mixed));
        assert_eq!(
            (workload.cost, workload.lifetime),
            (Some(Cost::Even), Some(Lifetime::Long))
        );
        assert_eq!(workload.affinity, Some(Affinity::Cache));
        assert!(said.contains("expected one of equal, mixed, noisy") && said.contains("from 0.05 to 0.98"));
    }

    #[test]
    fn nobody_who_answers_means_every_default() {
        assert!(answers("").0.is_silent());
    }
}
