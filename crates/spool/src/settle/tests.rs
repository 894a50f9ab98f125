use super::*;
use crate::reclaim::tests::{NOR, seal, spool, store};
use crate::segment::{Purpose, State};
use crate::spool::MountOptions;

#[test]
fn what_was_given_up_before_makes_room_for_the_mail_of_the_tail() {
    let state_after = |has_mail: bool| {
        let mut spool = spool(NOR, MountOptions::default());
        let id = store(&mut spool, 1);
        let group = spool.log.synced_group;
        seal(&mut spool, 10, Purpose::Hot, 30, 0).state = State::Retired { group };
        let meta = Meta { namespace: 1, key: alloc::vec![1], value: alloc::vec![2] };
        spool.tail.records.push(Note::Meta { group, meta });
        spool.tail.messages.extend(has_mail.then_some(id));
        spool.settle_tail().unwrap();
        assert!(spool.is_settled());
        spool.log.segments[10].state
    };
    assert_eq!(state_after(true), State::Free);
    assert!(matches!(state_after(false), State::Retired { .. }), "what else there is fits into the reserve");
}

#[test]
fn nothing_is_built_upon_a_tail_that_is_not_settled() {
    let mut spool = spool(NOR, MountOptions::default());
    let id = store(&mut spool, 1);
    spool.torn.push(id);
    assert_eq!((spool.is_settled(), spool.step_checkpoint()), (false, Ok(false)));
    spool.torn.clear();
    spool.tail.messages.push(id);
    assert_eq!((spool.is_settled(), spool.step_checkpoint()), (false, Ok(false)));
    spool.tail.messages.clear();
    assert_eq!((spool.is_settled(), spool.step_checkpoint()), (true, Ok(true)));
}
