//! Durations, sizes, offsets and ranges as people write them.

use std::ops::Range;
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

/// Parses a size that a stack may have.
pub(crate) fn parse_stack_size(text: &str) -> Result<u64, String> {
    use gate_image::InstanceOptions as Limits;
    let size = parse_size(text)?;
    if (Limits::MIN_STACK_SIZE..=Limits::MAX_STACK_SIZE).contains(&size) {
        Ok(size)
    } else {
        Err(format!("must be between {} and {} bytes", Limits::MIN_STACK_SIZE, Limits::MAX_STACK_SIZE))
    }
}

/// Parses `4711` and `0x1267`.
pub(crate) fn parse_offset(text: &str) -> Result<u32, String> {
    let offset = parse_address(text)?;
    u32::try_from(offset).map_err(|_| "too large".into())
}

/// Parses `START..END` and `START+LENGTH`, in decimal or in hexadecimal.
pub(crate) fn parse_range(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = if let Some((start, end)) = text.split_once("..") {
        (parse_address(start)?, parse_address(end)?)
    } else if let Some((start, length)) = text.split_once('+') {
        let start = parse_address(start)?;
        let length = parse_address(length)?;
        (start, start.checked_add(length).ok_or("too large")?)
    } else {
        return Err("must be START..END or START+LENGTH".into());
    };
    if start < end { Ok(start..end) } else { Err("is empty".into()) }
}

fn parse_address(text: &str) -> Result<u64, String> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    // The parser would accept a sign.
    if !digits.starts_with(|c: char| c.is_digit(radix)) {
        return Err(format!("{text:?} is not a number"));
    }
    u64::from_str_radix(digits, radix).map_err(|_| format!("{text:?} is not a number, or too large"))
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

    #[test]
    fn offsets_and_ranges() {
        assert_eq!(parse_offset("4711"), Ok(4711));
        assert_eq!(parse_offset("0xffffffff"), Ok(u32::MAX));
        for bad in ["", "-1", "+1", "0x", "x", "0x100000000", "1 ", "99999999999999999999"] {
            assert!(parse_offset(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_range("0x10..0x20"), Ok(16..32));
        assert_eq!(parse_range("100+0x10"), Ok(100..116));
        for bad in ["", "5", "5..5", "6..5", "5+0", "..5", "5..", "1..2..3", "0xffffffffffffffff+1"] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }
}
