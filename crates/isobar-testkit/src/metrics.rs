//! What do the metrics of a process say?

/// One scrape in the Prometheus text format.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Takes the text of a scrape.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// The text as scraped.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The sum of all samples of this name that carry these labels; none: there is no such sample.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let values = self.values(name, labels);
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// All samples of this name that carry these labels.
    #[must_use]
    pub fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        self.text
            .lines()
            .filter_map(|line| sample(line, name, labels))
            .collect()
    }
}

fn sample(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    let (written, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.rsplit_once('}')?,
        None => ("", rest.starts_with(' ').then_some(rest)?),
    };
    let carried = |(key, value): &(&str, &str)| written.split(',').any(|label| label == format!("{key}=\"{value}\""));
    labels
        .iter()
        .all(carried)
        .then(|| value.split_whitespace().next()?.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn samples_are_summed_by_label() {
        let text = "# HELP a b\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"3\"} 4\na_total_more 9\nb 0.5\n";
        let metrics = Metrics::new(text.to_owned());
        assert_eq!(metrics.sum("a_total", &[]), Some(7.0));
        assert_eq!(metrics.sum("a_total", &[("y", "3")]), Some(4.0));
        assert_eq!(metrics.sum("a_total", &[("y", "4")]), None);
        assert_eq!(metrics.sum("b", &[]), Some(0.5));
    }
}
