//! Conversion of a JSON value to the type of a dictionary member, as in a browser (Web IDL, sections
//! 3.2.4.4 `unsigned short` and 3.2.10 `DOMString`; ECMAScript, section 7.1). Arrays and objects are not
//! converted: no client sends them on purpose.

use std::borrow::Cow;

use crate::json::RawJson;

/// A JSON scalar.
enum JsonScalar<'a> {
    Text(Cow<'a, str>),
    Number(f64),
    Flag(bool),
}

impl<'a> JsonScalar<'a> {
    fn of(raw: RawJson<'a>) -> Option<Self> {
        match raw.as_str() {
            "true" => Some(Self::Flag(true)),
            "false" => Some(Self::Flag(false)),
            number if number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
                // Rust parses every JSON number. A number out of range becomes infinite, as in JavaScript.
                number.parse().ok().map(Self::Number)
            }
            _ => raw.text().map(Self::Text),
        }
    }
}

/// The value as a `DOMString`. `None` for `null`, an array or an object.
#[must_use]
pub(crate) fn dom_string(raw: RawJson<'_>) -> Option<Cow<'_, str>> {
    Some(match JsonScalar::of(raw)? {
        JsonScalar::Text(text) => text,
        JsonScalar::Number(number) => Cow::Owned(number_to_string(number)),
        JsonScalar::Flag(_) => Cow::Borrowed(raw.as_str()),
    })
}

/// The value as an `unsigned short`: modulo 65,536, and 0 if a text is not a number. `None` for `null`, an array or an
/// object.
#[must_use]
pub(crate) fn unsigned_short(raw: RawJson<'_>) -> Option<u16> {
    Some(to_uint16(match JsonScalar::of(raw)? {
        JsonScalar::Text(text) => string_to_number(&text),
        JsonScalar::Number(number) => number,
        JsonScalar::Flag(flag) => f64::from(u8::from(flag)),
    }))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the remainder is a whole number from 0 to 65,535"
)]
fn to_uint16(number: f64) -> u16 {
    if number.is_finite() {
        number.trunc().rem_euclid(65_536.0) as u16
    } else {
        0
    }
}

/// `StringToNumber` of ECMAScript. Text that is not a number becomes NaN.
fn string_to_number(text: &str) -> f64 {
    let is_space = |letter: char| letter.is_whitespace() || letter == '\u{feff}';
    let text = text.trim_matches(is_space);
    let radix = match text.get(..2) {
        Some("0x" | "0X") => 16,
        Some("0o" | "0O") => 8,
        Some("0b" | "0B") => 2,
        Some(_) | None => return decimal(text),
    };
    let digits = &text[2..];
    let append =
        |number, digit: char| Some(number * f64::from(radix) + f64::from(digit.to_digit(radix)?));
    let number = digits.chars().try_fold(0.0, append);
    number.filter(|_| !digits.is_empty()).unwrap_or(f64::NAN)
}

fn decimal(text: &str) -> f64 {
    match text {
        "" => 0.0,
        "Infinity" | "+Infinity" | "-Infinity" => f64::INFINITY,
        // Rust would also parse "inf" and "nan".
        _ if text
            .contains(|letter: char| letter.is_alphabetic() && !matches!(letter, 'e' | 'E')) =>
        {
            f64::NAN
        }
        _ => text.parse().unwrap_or(f64::NAN),
    }
}

/// `Number::toString` of ECMAScript with radix 10.
fn number_to_string(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        f64::INFINITY if number < 0.0 => "-Infinity".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        large if large >= 1e21 => format!("{number:e}").replace('e', "e+"),
        small if small < 1e-6 => format!("{number:e}"),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> RawJson<'_> {
        RawJson::parse(json).expect("JSON")
    }

    /// Values of `new RTCIceCandidate({candidate, sdpMLineIndex: VALUE}).sdpMLineIndex` in a browser.
    #[test]
    fn values_become_an_unsigned_short() {
        for (json, expected) in [
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("-0", Some(0)),
            ("1.9", Some(1)),
            ("-0.9", Some(0)),
            ("-1", Some(65_535)),
            ("65535", Some(65_535)),
            ("65536", Some(0)),
            ("65537.5", Some(1)),
            ("1e3", Some(1000)),
            ("1E+400", Some(0)),
            ("-1e400", Some(0)),
            (r#""0""#, Some(0)),
            (r#""1""#, Some(1)),
            (r#"" \t1\n""#, Some(1)),
            (r#""\ufeff2""#, Some(2)),
            (r#""1.5e1""#, Some(15)),
            (r#""+3""#, Some(3)),
            (r#"".5""#, Some(0)),
            (r#""-1""#, Some(65_535)),
            (r#""0x10""#, Some(16)),
            (r#""0b11""#, Some(3)),
            (r#""0o17""#, Some(15)),
            (r#""0x""#, Some(0)),
            (r#""-0x10""#, Some(0)),
            (r#""""#, Some(0)),
            (r#""audio""#, Some(0)),
            (r#""inf""#, Some(0)),
            (r#""nan""#, Some(0)),
            (r#""Infinity""#, Some(0)),
            (r#""1_0""#, Some(0)),
            ("true", Some(1)),
            ("false", Some(0)),
            ("null", None),
            ("[]", None),
            ("{}", None),
        ] {
            assert_eq!(unsigned_short(raw(json)), expected, "{json}");
        }
    }

    /// Values of `new RTCIceCandidate({candidate, sdpMid: VALUE}).sdpMid` in a browser.
    #[test]
    fn values_become_a_dom_string() {
        for (json, expected) in [
            (r#""audio""#, Some("audio")),
            (r#""\u0030""#, Some("0")),
            ("0", Some("0")),
            ("0.0", Some("0")),
            ("-0", Some("0")),
            ("-1", Some("-1")),
            ("1.50", Some("1.5")),
            ("1e2", Some("100")),
            ("123456789012345680000", Some("123456789012345680000")),
            ("1e21", Some("1e+21")),
            ("-1.5e300", Some("-1.5e+300")),
            ("0.000001", Some("0.000001")),
            ("1.5e-7", Some("1.5e-7")),
            ("1e999", Some("Infinity")),
            ("-1e999", Some("-Infinity")),
            ("true", Some("true")),
            ("false", Some("false")),
            ("null", None),
            ("[0]", None),
            ("{}", None),
        ] {
            assert_eq!(dom_string(raw(json)).as_deref(), expected, "{json}");
        }
    }
}
