//! The kinds of values there are, each read from TOML with the reason why it is refused.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::Limit;

type Read<T> = Result<T, String>;

pub(super) fn text(value: &DeValue<'_>) -> Read<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| expected("a text", value))
}

/// A path that means the same wherever the coordinator is started.
pub(super) fn path(value: &DeValue<'_>) -> Read<PathBuf> {
    let text = text(value)?;
    if text.contains('\0') {
        return Err("a path cannot hold a zero byte".to_owned());
    }
    if text.starts_with('/') { Ok(text.into()) } else { Err(format!("'{text}' is not an absolute path")) }
}

/// The path of a Unix socket.
pub(super) fn socket(value: &DeValue<'_>) -> Read<PathBuf> {
    socket_path(path(value)?)
}

/// The system bounds the paths of sockets.
pub(super) fn socket_path(path: PathBuf) -> Read<PathBuf> {
    const LONGEST: usize = 107;
    let length = path.as_os_str().len();
    if length <= LONGEST {
        return Ok(path);
    }
    Err(format!("{} has {length} bytes, and a socket's path may have {LONGEST}", path.display()))
}

pub(super) fn flag(value: &DeValue<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}

/// A program and its arguments.
pub(super) fn command(value: &DeValue<'_>) -> Read<Vec<String>> {
    let words = value.as_array().ok_or_else(|| expected("a list of texts", value))?;
    let mut command = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let word =
            if n == 0 { program(word.get_ref())?.display().to_string() } else { text(word.get_ref())? };
        if word.contains('\0') {
            return Err("an argument cannot hold a zero byte".to_owned());
        }
        command.push(word);
    }
    if command.is_empty() { Err("the list is empty: it needs a program".to_owned()) } else { Ok(command) }
}

/// A program: an absolute path, or a name that is looked for on PATH.
pub(super) fn program(value: &DeValue<'_>) -> Read<PathBuf> {
    let text = text(value)?;
    let name = !text.is_empty() && !text.contains(['/', '\0']);
    if name { Ok(text.into()) } else { path(value) }
}

/// A whole number from `least` to `most`.
pub(super) fn count(least: u32, most: u32) -> impl Fn(&DeValue<'_>) -> Read<u32> {
    move |value| {
        let wanted = format!("a whole number from {least} to {most}");
        let number = integer(value).ok_or_else(|| expected(&wanted, value))?;
        let number = u32::try_from(number).ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| expected(&wanted, value))
    }
}

/// A factor by which one builder is faster than another.
pub(super) fn factor(value: &DeValue<'_>) -> Read<f64> {
    let number = match value {
        DeValue::Float(float) => float.as_str().parse().ok(),
        DeValue::Integer(whole) => whole.as_str().parse().ok(),
        _ => None,
    };
    let good = number.filter(|number: &f64| number.is_finite() && *number > 0.0);
    good.ok_or_else(|| expected("a number above zero", value))
}

/// A duration in words, such as `90s` or `10m`; at least a millisecond, at most a year.
pub(super) fn duration(value: &DeValue<'_>) -> Read<Duration> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let wanted = r#"a duration such as "90s" or "10m", above zero and at most a year"#;
    let duration = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
    let good = duration.filter(|duration| (Duration::from_millis(1)..=YEAR).contains(duration));
    good.ok_or_else(|| expected(wanted, value))
}

/// A duration, or `off`.
pub(super) fn limit(value: &DeValue<'_>) -> Read<Limit> {
    match value.as_str() {
        Some("off") => Ok(Limit::Off),
        _ => duration(value).map(Limit::After).map_err(|error| format!("{error}; \"off\" sets no limit")),
    }
}

/// One word, read by `parse`.
pub(super) fn word<T, E: Display>(value: &DeValue<'_>, parse: impl Fn(&str) -> Result<T, E>) -> Read<T> {
    parse(&text(value)?).map_err(|error| error.to_string())
}

/// A size in bytes, such as `1 MiB` or `65536`; at least one.
pub(super) fn size(value: &DeValue<'_>) -> Read<u64> {
    let bytes = match value {
        DeValue::String(text) => text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64()),
        DeValue::Integer(_) => integer(value),
        _ => None,
    };
    let good = bytes.filter(|bytes| (1..=i64::MAX as u64).contains(bytes));
    good.ok_or_else(|| expected(r#"a size such as "1 MiB", or a number of bytes, above zero"#, value))
}

/// A list of different words, each read by `parse`.
pub(super) fn words<T: Ord, E: Display>(
    parse: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&DeValue<'_>) -> Read<BTreeSet<T>> {
    move |value| {
        let mut words = BTreeSet::new();
        for item in value.as_array().ok_or_else(|| expected("a list of texts", value))? {
            let word = text(item.get_ref())?;
            if !words.insert(parse(&word).map_err(|error| error.to_string())?) {
                return Err(format!("'{word}' is there twice"));
            }
        }
        Ok(words)
    }
}

/// The same, with at least one.
pub(super) fn some_words<T: Ord, E: Display>(
    parse: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&DeValue<'_>) -> Read<BTreeSet<T>> {
    let words = words(parse);
    move |value| {
        let words = words(value)?;
        if words.is_empty() { Err("the list is empty; leave the key out".to_owned()) } else { Ok(words) }
    }
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// "expected this, found that".
pub(super) fn expected(wanted: &str, value: &DeValue<'_>) -> String {
    let found = match value {
        DeValue::String(text) => format!("{:?}", text.chars().take(200).collect::<String>()),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(word) => word.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    };
    format!("expected {wanted}, found {found}")
}
