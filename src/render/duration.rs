//! Durations as people say them.

use std::time::Duration;

/// The two largest units, such as `3 min 5 s`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86400, "d", seconds % 86400 / 3600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let check = |seconds, expected: &str| assert_eq!(human(Duration::from_secs(seconds)), expected);
        check(0, "0 ms");
        check(59, "59 s");
        check(60, "1 min");
        check(185, "3 min 5 s");
        check(3600, "1 h");
        check(7500, "2 h 5 min");
        check(86400 * 3 + 7200, "3 d 2 h");
        assert_eq!(human(Duration::from_millis(40)), "40 ms");
    }
}
