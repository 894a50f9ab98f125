//! The types that a setting can have: how each is read, bounded, described and printed.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::ops::RangeInclusive;
use core::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use crate::problem::Code;
use crate::read::{At, quoted};
use crate::units::{Bytes, DurationText};

/// The longest text in a file, in bytes: a path of Linux.
const TEXT_BYTES_MAX: usize = 4095;

/// A type that a key of the table can have.
pub(crate) trait Value: Sized {
    /// What bounds it.
    type Limits;

    /// Type, unit and range as words that follow "must be".
    fn allowed(limits: &Self::Limits) -> String;

    /// Reads it, or refuses it and says why.
    fn read(value: &Spanned<DeValue<'_>>, limits: &Self::Limits, at: &mut At<'_>) -> Option<Self>;

    /// The value as TOML.
    fn to_toml(&self) -> String;
}

/// Why a text is not the value that it should be.
pub(crate) enum Refusal {
    /// It does not mean anything here.
    Bad,
    /// It means something, but too little or too much.
    OutOfRange,
    /// It is a common mistake with a remedy of its own, as a sentence.
    Because(&'static str),
}

/// A value that is written as a TOML string.
pub(crate) trait Text: Sized {
    type Limits;

    /// Such as this, as TOML; empty where `allowed` says it all.
    const EXAMPLE: &'static str;

    fn allowed(limits: &Self::Limits) -> String;

    fn from_text(text: &str, limits: &Self::Limits) -> Result<Self, Refusal>;

    fn to_text(&self) -> String;
}

impl<T: Text> Value for T {
    type Limits = T::Limits;

    fn allowed(limits: &Self::Limits) -> String {
        let allowed = T::allowed(limits);
        if T::EXAMPLE.is_empty() { allowed } else { format!("{allowed}, such as {}", T::EXAMPLE) }
    }

    fn read(value: &Spanned<DeValue<'_>>, limits: &Self::Limits, at: &mut At<'_>) -> Option<Self> {
        let must = <T as Value>::allowed(limits);
        let DeValue::String(text) = value.get_ref() else {
            let reason = format!("is {}: must be {must}, in quotes", found(value.get_ref()));
            at.refuse(&value.span(), Code::WrongType, reason);
            return None;
        };
        let refusal =
            if text.len() > TEXT_BYTES_MAX { Err(Refusal::OutOfRange) } else { T::from_text(text, limits) };
        match refusal {
            Ok(value) => Some(value),
            Err(refusal) => {
                let (code, hint) = match refusal {
                    Refusal::Bad => (Code::BadValue, ""),
                    Refusal::OutOfRange => (Code::OutOfRange, ""),
                    Refusal::Because(hint) => (Code::BadValue, hint),
                };
                let sep = if hint.is_empty() { "" } else { "; " };
                at.refuse(&value.span(), code, format!("\"{}\": must be {must}{sep}{hint}", quoted(text)));
                None
            }
        }
    }

    fn to_toml(&self) -> String {
        // None of the texts that pass can hold a quote, a backslash or a control character.
        format!("\"{}\"", self.to_text())
    }
}

impl Value for bool {
    type Limits = ();

    fn allowed((): &()) -> String {
        "true or false".into()
    }

    fn read(value: &Spanned<DeValue<'_>>, limits: &(), at: &mut At<'_>) -> Option<Self> {
        let DeValue::Boolean(is) = value.get_ref() else {
            let reason =
                format!("is {}: must be {}, without quotes", found(value.get_ref()), Self::allowed(limits));
            at.refuse(&value.span(), Code::WrongType, reason);
            return None;
        };
        Some(*is)
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    type Limits = RangeInclusive<Self>;

    fn allowed(limits: &Self::Limits) -> String {
        format!("a whole number from {} to {}", limits.start(), limits.end())
    }

    fn read(value: &Spanned<DeValue<'_>>, limits: &Self::Limits, at: &mut At<'_>) -> Option<Self> {
        let must = Self::allowed(limits);
        let DeValue::Integer(number) = value.get_ref() else {
            let reason = format!("is {}: must be {must}, without quotes", found(value.get_ref()));
            at.refuse(&value.span(), Code::WrongType, reason);
            return None;
        };
        let read = Self::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| limits.contains(n));
        if read.is_none() {
            at.refuse(
                &value.span(),
                Code::OutOfRange,
                format!("{}: must be {must}", quoted(number.as_str())),
            );
        }
        read
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl<T: Value + PartialEq> Value for Vec<T> {
    /// How many entries, and the limits of each.
    type Limits = (RangeInclusive<usize>, T::Limits);

    fn allowed((count, each): &Self::Limits) -> String {
        format!("a list of {} to {} entries, each {}", count.start(), count.end(), T::allowed(each))
    }

    fn read(value: &Spanned<DeValue<'_>>, limits: &Self::Limits, at: &mut At<'_>) -> Option<Self> {
        let (count, each) = limits;
        let DeValue::Array(entries) = value.get_ref() else {
            let reason = format!("is {}: must be {}", found(value.get_ref()), Self::allowed(limits));
            at.refuse(&value.span(), Code::WrongType, reason);
            return None;
        };
        if !count.contains(&entries.len()) {
            let reason = format!("{} entries: must be {}", entries.len(), Self::allowed(limits));
            at.refuse(&value.span(), Code::OutOfRange, reason);
            return None;
        }
        let mut list = Vec::new();
        let mut whole = true;
        for entry in entries.iter() {
            match T::read(entry, each, at) {
                Some(item) => list.push(item),
                None => whole = false,
            }
        }
        whole.then_some(list)
    }

    fn to_toml(&self) -> String {
        let entries: Vec<_> = self.iter().map(T::to_toml).collect();
        format!("[{}]", entries.join(", "))
    }
}

impl Text for Duration {
    type Limits = RangeInclusive<Self>;
    const EXAMPLE: &'static str = "\"90s\", \"5m\", \"12h\" or \"30d\"";

    fn allowed(limits: &Self::Limits) -> String {
        format!("a duration from {} to {}", DurationText(*limits.start()), DurationText(*limits.end()))
    }

    fn from_text(text: &str, limits: &Self::Limits) -> Result<Self, Refusal> {
        let duration = DurationText::parse(text).ok_or(Refusal::Bad)?;
        if limits.contains(&duration) { Ok(duration) } else { Err(Refusal::OutOfRange) }
    }

    fn to_text(&self) -> String {
        DurationText(*self).to_string()
    }
}

impl Text for Bytes {
    type Limits = RangeInclusive<Self>;
    const EXAMPLE: &'static str = "\"512KiB\", \"36MiB\" or \"4GiB\"";

    fn allowed(limits: &Self::Limits) -> String {
        format!("a size from {} to {}", limits.start(), limits.end())
    }

    fn from_text(text: &str, limits: &Self::Limits) -> Result<Self, Refusal> {
        let size = Self::from_text(text).ok_or(Refusal::Bad)?;
        if limits.contains(&size) { Ok(size) } else { Err(Refusal::OutOfRange) }
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl Text for SocketAddr {
    type Limits = ();
    const EXAMPLE: &'static str = "\"[::]:25\" or \"192.0.2.1:25\"";

    fn allowed((): &()) -> String {
        "an IP address with a port".into()
    }

    fn from_text(text: &str, (): &()) -> Result<Self, Refusal> {
        match text.parse::<Self>() {
            Ok(address) if address.port() != 0 => Ok(address),
            _ => Err(Refusal::Bad),
        }
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// What somebody wrote, as a noun.
pub(crate) fn found(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
