//! What the table of commands says of each.

use crate::failure::Failure;
use crate::levels::{Level, Levels};
use crate::words::{Command, Words};

/// What a command is about; help is in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Seeing how the box is.
    Look,
    /// What it starts.
    Slots,
    /// The chips.
    Flash,
    /// The mail.
    Spool,
    /// The network, and taking mail from it.
    Net,
    /// Doing something to the box.
    Act,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Look, Self::Slots, Self::Flash, Self::Spool, Self::Net, Self::Act];

    /// Its word in the help.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Slots => "slots",
            Self::Flash => "flash",
            Self::Spool => "spool",
            Self::Net => "net",
            Self::Act => "act",
        }
    }
}

/// What has to be typed back before a command destroys something. In userland it is an argument; below Linux the console
/// asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypedBack {
    /// The name of the slot that the command names.
    Slot,
    /// The serial number of the box.
    Serial,
}

/// Reads the arguments of a command.
pub(crate) type Reads = for<'a> fn(&mut Words<'a>) -> Result<Command<'a>, Failure>;

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// What is typed, one word or two.
    pub name: &'static str,
    /// Other names, and where they hold.
    pub aliases: &'static [(&'static str, Levels)],
    /// What it is about.
    pub group: Group,
    /// Its arguments as the help shows them: words in capitals stand for something, others are typed as they are, of
    /// `a|b` one; what is in brackets may be left out.
    pub arguments: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// What else there is to know, with examples. May be empty.
    pub more: &'static str,
    /// Where it exists.
    pub levels: Levels,
    /// What has to be typed back, if it destroys something.
    pub typed_back: Option<TypedBack>,
    /// How its arguments are read below Linux.
    pub(crate) reads: Option<Reads>,
}

impl Definition {
    /// Whether this is its name at that level, or another one of it there.
    pub fn is_called(&self, words: &str, level: Level) -> bool {
        let same = |name: &str| name.split(' ').eq(words.split_ascii_whitespace());
        same(self.name) || self.aliases.iter().any(|(alias, levels)| levels.contain(level) && same(alias))
    }

    /// Its names at that level, the first one first.
    pub fn names(&self, level: Level) -> impl Iterator<Item = &'static str> + use<> {
        let others =
            self.aliases.iter().filter(move |(_, levels)| levels.contain(level)).map(|(name, _)| *name);
        core::iter::once(self.name).chain(others)
    }
}
