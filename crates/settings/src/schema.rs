//! What a table of settings is made of, and the macro that makes a struct, a parser and a documented row of each line.

use alloc::format;
use alloc::string::String;

use crate::read::TableReader;
use crate::value::Value;

/// What a key is when the file does not set it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preset<T> {
    /// This value.
    Default(T),
    /// Nothing would be right: the operator must say. Holds an example, as TOML.
    Required(&'static str),
}

/// One key of the table, for documents and help.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// What it does and why its default is what it is, as lines of Markdown with a leading space.
    pub reason: &'static [&'static str],
    /// Type, unit and range as words that follow "must be".
    pub allowed: fn() -> String,
    /// Its default as TOML.
    pub preset: fn() -> Preset<String>,
}

/// One section of the table.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name in the file.
    pub name: &'static str,
    /// Whether it may stand several times, as `[[name]]`.
    pub repeats: bool,
    /// What it is about, as lines of Markdown with a leading space.
    pub about: &'static [&'static str],
    /// Its keys in the order of the document.
    pub keys: &'static [Key],
}

impl Section {
    /// Whether it has a key of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }

    /// The line that begins the section in a file.
    pub fn header(&self) -> String {
        if self.repeats { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }
}

/// A section as a struct.
pub(crate) trait Group: Sized {
    const SECTION: Section;

    /// Reads every key, also after the first that is wrong, so that all problems are told.
    fn read(table: &mut TableReader<'_, '_>) -> Option<Self>;
}

/// A key that has a default.
pub(crate) const fn default<T>(value: T) -> Preset<T> {
    Preset::Default(value)
}

/// A key that the operator must set.
pub(crate) const fn required<T>(example_toml: &'static str) -> Preset<T> {
    Preset::Required(example_toml)
}

pub(crate) fn read_key<T: Value>(
    table: &mut TableReader<'_, '_>,
    name: &'static str,
    preset: Preset<T>,
    limits: &T::Limits,
) -> Option<T> {
    match preset {
        Preset::Default(value) => table.value(name, Some(value), "", limits),
        Preset::Required(example) => table.value(name, None, example, limits),
    }
}

pub(crate) fn preset_text<T: Value>(preset: Preset<T>) -> Preset<String> {
    match preset {
        Preset::Default(value) => Preset::Default(value.to_toml()),
        Preset::Required(example) => Preset::Required(example),
    }
}

/// Declares a section: each line is `key: Type = default(…) or required(…), limits;` below the comment that becomes
/// both the field's documentation and the reason in the document.
macro_rules! group {
    (
        $(#[doc = $about:literal])*
        $name:literal $(repeats $repeats:literal)? => $group:ident {
            $(
                $(#[doc = $reason:literal])*
                $key:ident: $value:ty = $preset:expr, $limits:expr;
            )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $group {
            $( $(#[doc = $reason])* pub $key: $value, )*
        }

        impl $crate::schema::Group for $group {
            const SECTION: $crate::schema::Section = $crate::schema::Section {
                name: $name,
                repeats: false $( || $repeats )?,
                about: &[$($about),*],
                keys: &[$(
                    $crate::schema::Key {
                        name: stringify!($key),
                        reason: &[$($reason),*],
                        allowed: || <$value as $crate::value::Value>::allowed(&$limits),
                        preset: || $crate::schema::preset_text::<$value>($preset),
                    },
                )*],
            };

            fn read(table: &mut $crate::read::TableReader<'_, '_>) -> Option<Self> {
                $( let $key = $crate::schema::read_key::<$value>(table, stringify!($key), $preset, &$limits); )*
                Some(Self { $( $key: $key?, )* })
            }
        }
    };
}

/// Declares a setting that is one of a few words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])*
        $choice:ident { $( $(#[doc = $doc:literal])* $variant:ident = $word:literal, )* }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $choice { $( $(#[doc = $doc])* $variant, )* }

        impl $choice {
            /// The word for it in the file.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl $crate::value::Text for $choice {
            type Limits = ();
            const EXAMPLE: &'static str = "";

            fn allowed((): &()) -> alloc::string::String {
                alloc::format!("one of {}", [$( concat!("\"", $word, "\"") ),*].join(", "))
            }

            fn from_text(text: &str, (): &()) -> Result<Self, $crate::value::Refusal> {
                match text {
                    $( $word => Ok(Self::$variant), )*
                    _ => Err($crate::value::Refusal::Bad),
                }
            }

            fn to_text(&self) -> alloc::string::String {
                self.as_str().into()
            }
        }
    };
}

pub(crate) use {choice, group};
