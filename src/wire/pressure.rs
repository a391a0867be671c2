//! Linux's pressure stall information: the text of `/proc/pressure/*`.

/// The percentage of the last ten seconds in which some task waited (`some avg10=`); none where the text says none.
///
/// ```
/// assert_eq!(muster::wire::pressure::some_avg10("some avg10=1.50 avg60=0.00 avg300=0.00 total=12\n"), Some(1.5));
/// ```
pub fn some_avg10(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let value = some.split(' ').find_map(|word| word.strip_prefix("avg10="))?;
    value.parse().ok().filter(|percent: &f64| (0.0..=100.0).contains(percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_some_counts_and_only_percentages() {
        let check = |text: &str, expected| assert_eq!(some_avg10(text), expected, "{text}");
        check(
            "some avg10=0.00 avg60=0.12 avg300=0.03 total=1\nfull avg10=9.00 avg60=0 avg300=0 total=0\n",
            Some(0.0),
        );
        check("full avg10=9.00 avg60=0.00 avg300=0.00 total=0\nsome avg10=99.90 total=5\n", Some(99.9));
        for bad in [
            "",
            "some",
            "some avg60=1.0",
            "some avg10=x",
            "some avg10=101",
            "some avg10=NaN",
            "some avg10=-1",
        ] {
            check(bad, None);
        }
    }
}
