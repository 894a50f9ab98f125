//! Which part of the firmware's own memory is for what: nothing that can be written is executed, and nothing that is executed
//! can be written.

use core::ops::Range;

/// How the linker has laid the program out: where each part begins, the parts in the order of their addresses, each at the
/// beginning of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Code.
    pub code: u64,
    /// What is only read.
    pub constants: u64,
    /// What has a value before the start.
    pub data: u64,
    /// Where exceptions go.
    pub vectors: u64,
    /// All else: the first page table, data without a value, stack and heap.
    pub rest: u64,
    /// Where the program ends.
    pub end: u64,
}

/// What may be done with memory besides reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is executed.
    Execute,
    /// It is written.
    Write,
    /// Nothing.
    Read,
}

impl Layout {
    /// What is for what. All else of memory is written and not executed.
    pub fn parts(&self) -> [(Range<u64>, Access); 5] {
        let Self { code, constants, data, vectors, rest, end } = *self;
        [
            (code..constants, Access::Execute),
            (constants..data, Access::Read),
            (data..vectors, Access::Write),
            (vectors..rest, Access::Execute),
            (rest..end, Access::Write),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_of_the_program_is_for_one_thing() {
        let layout = Layout { code: 1, constants: 5, data: 7, vectors: 8, rest: 9, end: 20 };
        let parts = layout.parts();
        assert!(parts.windows(2).all(|pair| pair[0].0.end == pair[1].0.start), "none is left out");
        assert_eq!((parts[0].0.start, parts[4].0.end), (layout.code, layout.end));
        let executed = parts.iter().filter(|(_, access)| *access == Access::Execute);
        let executed: std::vec::Vec<_> = executed.map(|(range, _)| range.clone()).collect();
        assert_eq!(executed, [1..5, 8..9]);
    }
}
