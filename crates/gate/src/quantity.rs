//! Durations and sizes as people write them.

use std::time::Duration;

/// Parses `1.5`, `90s`, `1m 30s`, `200ms`. A number alone is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|err| err.to_string())?,
        Err(_) => humantime::parse_duration(text).map_err(|err| err.to_string())?,
    };
    if duration.is_zero() {
        return Err("must not be zero".into());
    }
    Ok(duration)
}

/// Parses `65536`, `64k`, `64KiB`, `1.5g`. Units are powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        other => return Err(format!("unknown unit {other:?}: use k, m, g or t")),
    };
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(1 << shift).ok_or_else(|| "too large".into());
    }
    let number: f64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    let bytes = number * (1u64 << shift) as f64;
    // Above this, not every integer is a float, and no size is meant.
    if bytes < (1u64 << 53) as f64 { Ok(bytes as u64) } else { Err("too large".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "-1", "0", "0s", "nan", "inf", "1e300", "soon", "5 bananas"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("65536"), Ok(65536));
        assert_eq!(parse_size("64k"), Ok(65536));
        assert_eq!(parse_size("64 KiB"), Ok(65536));
        assert_eq!(parse_size("1.5G"), Ok(3 << 29));
        for bad in ["", "k", "-1", "1x", "1.2.3m", "99999999999999999999", "20000000t", "9999999.5t"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
