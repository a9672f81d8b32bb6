//! Replies on connections that are not known: the process that read their commands is gone.

use super::*;

const LINE: &str = "227 Entering Passive Mode (10,0,0,11,121,26).\r\n";

#[test]
fn a_227_gets_the_vip_and_opens_nothing() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    let (decision, bytes, actions) = wire.hears(&mut director, Time::ZERO, LINE);
    assert_eq!(decision, Decision::Accept { mark: None, edited: true });
    assert!(payload(&bytes).contains("(192,0,2,10,121,26)"), "{}", payload(&bytes));
    assert!(wire::Packet::parse(&bytes).expect("a packet").is_intact(&bytes));
    assert!(actions.is_empty());
    assert_eq!(director.snapshot().clusters["downloads"].rewritten, 1);
    assert_eq!(director.snapshot().sessions.values().sum::<u64>(), 0, "no session begins with it");
}

#[test]
fn as_it_is_passes_what_nobody_can_tell() {
    let mut own = director(ForwardingMethod::Nat, false);
    // A client that has spoken, and did not ask.
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    let _ = wire.says(&mut own, Time::ZERO, "NOOP\r\n");
    let mut cases = vec![wire.hears(&mut own, Time::ZERO, LINE)];
    // Another server's name for this port.
    let mut other = Wire::new(client(), 1, ForwardingMethod::Nat);
    cases.push(other.hears(&mut own, Time::ZERO, LINE));
    // One range for all: no pinhole is open.
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    cases.push(wire.hears(&mut director(ForwardingMethod::Nat, true), Time::ZERO, LINE));
    // Two VIPs, and each advertises itself.
    let mut setup = own.setup.clone();
    let (mut placement, mut policies) = setup.placements[0].clone();
    placement.index = 7;
    policies.explicit.advertise = Some([192, 0, 2, 11].into());
    setup.placements.push((placement, policies));
    let mut two = Director::new(setup);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    cases.push(wire.hears(&mut two, Time::ZERO, LINE));
    for (at, (decision, bytes, actions)) in cases.into_iter().enumerate() {
        assert_eq!((decision, payload(&bytes)), (unread(), LINE.to_owned()), "{at}");
        assert!(actions.is_empty(), "{at}");
    }
}

/// A command waits in the queue behind its own reply: the client has sent it again, since the reply waited.
#[test]
fn a_command_that_comes_behind_its_reply_puts_nothing_out_of_step() {
    let mut director = director(ForwardingMethod::Nat, false);
    let mut wire = Wire::new(client(), 0, ForwardingMethod::Nat);
    let had = wire.answered;
    let _ = wire.hears(&mut director, Time::ZERO, "200 fine\r\n");
    let has = std::mem::replace(&mut wire.answered, had);
    let _ = wire.says(&mut director, Time::ZERO, "TYPE I\r\n");
    wire.answered = has;
    let _ = wire.says(&mut director, Time::ZERO, "NOOP\r\n");
    let _ = wire.hears(&mut director, Time::ZERO, "200 fine\r\n");
    for _ in 0..2 {
        let _ = wire.says(&mut director, Time::ZERO, "PASV\r\n");
        let (decision, bytes, _) = wire.hears(&mut director, Time::ZERO, LINE);
        assert_eq!(decision, Decision::Accept { mark: Some(MARKS.control(0).0), edited: true });
        assert!(payload(&bytes).contains("(192,0,2,10,121,26)"), "{}", payload(&bytes));
        let _ = wire.says(&mut director, Time::ZERO, "NOOP\r\n");
        let _ = wire.hears(&mut director, Time::ZERO, "200 fine\r\n");
    }
}
