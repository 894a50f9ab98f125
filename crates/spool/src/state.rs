//! META: small values under namespaced keys, the newest of which counts.
//!
//! The table is in memory whole; it is bounded, and what it holds is read at every turn. What a namespace or a key
//! means is up to the caller. A key never goes away: an empty value stands for none, since a record that takes a key
//! away would have to outlive every older record of it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::Error;
use crate::record::{META_KEY_BYTES_MAX, META_VALUE_BYTES_MAX, Meta};

/// The most keys that a volume holds.
pub const META_KEYS_MAX: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct MetaTable {
    values: BTreeMap<(u8, Vec<u8>), (Vec<u8>, u32)>,
}

impl MetaTable {
    pub(crate) fn get(&self, namespace: u8, key: &[u8]) -> Option<&[u8]> {
        self.values.get(&(namespace, key.to_vec())).map(|(value, _)| value.as_slice())
    }

    /// Checks that a value may be put.
    pub(crate) fn check(&self, meta: &Meta) -> Result<(), Error> {
        if meta.key.len() > META_KEY_BYTES_MAX {
            return Err(Error::FieldTooLong { field: "META key", max_bytes: META_KEY_BYTES_MAX });
        }
        if meta.value.len() > META_VALUE_BYTES_MAX {
            return Err(Error::FieldTooLong { field: "META value", max_bytes: META_VALUE_BYTES_MAX });
        }
        let known = self.values.contains_key(&(meta.namespace, meta.key.clone()));
        if !known && self.values.len() >= META_KEYS_MAX {
            return Err(Error::FieldTooLong { field: "META table", max_bytes: META_KEYS_MAX });
        }
        Ok(())
    }

    /// The segment of the record that this key's newest value stands in.
    pub(crate) fn segment_of(&self, meta: &Meta) -> Option<u32> {
        self.values.get(&(meta.namespace, meta.key.clone())).map(|(_, segment)| *segment)
    }

    pub(crate) fn apply(&mut self, meta: &Meta, segment: u32) {
        let key = (meta.namespace, meta.key.clone());
        if self.values.len() < META_KEYS_MAX || self.values.contains_key(&key) {
            self.values.insert(key, (meta.value.clone(), segment));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, &[u8], &[u8])> {
        self.values
            .iter()
            .map(|((namespace, key), (value, _))| (*namespace, key.as_slice(), value.as_slice()))
    }

    /// All values, each with the segment it stands in.
    pub(crate) fn save(&self) -> impl Iterator<Item = (Meta, u32)> {
        self.values.iter().map(|((namespace, key), (value, segment))| {
            (Meta { namespace: *namespace, key: key.clone(), value: value.clone() }, *segment)
        })
    }

    /// The segment of each value.
    pub(crate) fn segments(&self) -> impl Iterator<Item = u32> {
        self.values.values().map(|(_, segment)| *segment)
    }

    /// The segment of a value that stands in none.
    const NO_SEGMENT: u32 = u32::MAX;

    /// Takes from each value the segment it stands in, if nothing there counts any more. Gives the values.
    pub(crate) fn leave_segments(&mut self, counts: impl Fn(u32) -> bool) -> Vec<Meta> {
        let mut lost = Vec::new();
        for ((namespace, key), (value, segment)) in &mut self.values {
            if !counts(*segment) {
                *segment = Self::NO_SEGMENT;
                lost.push(Meta { namespace: *namespace, key: key.clone(), value: value.clone() });
            }
        }
        lost
    }

    /// The first values that stand in a segment, as records to be written again.
    pub(crate) fn in_segment(&self, segment: u32, count_max: usize) -> Vec<Meta> {
        let here = self.values.iter().filter(|(_, (_, at))| *at == segment).take(count_max);
        here.map(|((namespace, key), (value, _))| Meta {
            namespace: *namespace,
            key: key.clone(),
            value: value.clone(),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lets_go_of_a_segment_that_counts_no_more_and_keeps_what_it_says() {
        let mut table = MetaTable::default();
        let meta = |key: u8| Meta { namespace: 1, key: alloc::vec![key], value: alloc::vec![key; 3] };
        table.apply(&meta(1), 10);
        table.apply(&meta(2), 11);
        assert_eq!(table.leave_segments(|segment| segment == 11), [meta(1)]);
        assert_eq!((table.get(1, &[1]), table.get(1, &[2])), (Some(&[1; 3][..]), Some(&[2; 3][..])));
        assert!(table.in_segment(10, 9).is_empty());
        assert_eq!(table.in_segment(11, 9), [meta(2)]);
        table.apply(&meta(1), 12);
        assert!(table.leave_segments(|segment| segment >= 11).is_empty());
    }
}
