use super::*;
use crate::config::sample;
use crate::lvs::ForwardingMethod;
use crate::plan::availability::Availability;
use crate::plan::desired;

const MARKS: Marks = Marks { base: 0x0f70_0000 };

fn of(indexes: &Indexes) -> Vec<(String, u16)> {
    indexes.placements.iter().map(|placement| (placement.address.to_string(), placement.index)).collect()
}

#[test]
fn an_empty_kernel_gives_file_order() {
    let indexes = assign(&sample::config(ForwardingMethod::Nat), MARKS, &State::default()).expect("room");
    assert_eq!(of(&indexes), [("10.0.0.11".into(), 0), ("10.0.0.12".into(), 1), ("10.0.0.13".into(), 2)]);
}

#[test]
fn the_kernel_remembers() {
    let config = sample::config(ForwardingMethod::Nat);
    let before = assign(&config, MARKS, &State::default()).expect("room");
    let actual = desired::rows(&config, &before, &Availability::default());
    let mut reordered = config.clone();
    reordered.clusters[0].real_servers.reverse();
    reordered.clusters[0].real_servers.remove(1);
    let after = assign(&reordered, MARKS, &actual).expect("room");
    assert_eq!(of(&after), [("10.0.0.13".into(), 2), ("10.0.0.11".into(), 0)]);
    assert_eq!(after.tags, before.tags);
}

#[test]
fn without_the_table_the_services_tell() {
    let config = sample::config(ForwardingMethod::Dr);
    let before = assign(&config, MARKS, &State::default()).expect("room");
    let actual =
        State { services: desired::rows(&config, &before, &Availability::default()).services, ..State::default() };
    let mut shorter = config;
    shorter.clusters[0].real_servers.remove(0);
    assert_eq!(
        of(&assign(&shorter, MARKS, &actual).expect("room")),
        [("10.0.0.12".into(), 1), ("10.0.0.13".into(), 2)]
    );
}

/// Rows of sessions that are written again after a flush speak of the indexes that were in force.
#[test]
fn what_the_kernel_has_forgotten_the_configuration_in_force_tells() {
    let mut config = sample::config(ForwardingMethod::Nat);
    config.clusters[0].ports = vec![21, 2121];
    let first = assign(&config, MARKS, &State::default()).expect("room");
    let actual = desired::rows(&config, &first, &Availability::default());
    let mut reordered = config.clone();
    reordered.clusters[0].real_servers.reverse();
    reordered.clusters[0].ports.reverse();
    let indexes = assign(&reordered, MARKS, &actual).expect("room");
    let former = Some(Former { config: &reordered, indexes: &indexes });
    let renumbered = assign(&reordered, MARKS, &State::default()).expect("room");
    assert!(renumbered.placements != indexes.placements && renumbered.tags != indexes.tags);
    assert_eq!(assign_after(&reordered, MARKS, &State::default(), former), Ok(indexes.clone()));
    // What the kernel says goes before: another daemon may have been here.
    let actual = desired::rows(&reordered, &renumbered, &Availability::default());
    assert_eq!(assign_after(&reordered, MARKS, &actual, former), Ok(renumbered));
    // A newcomer gets the index of nobody.
    let mut more = reordered.clone();
    let server = more.clusters[0].real_servers[0].clone();
    more.clusters[0].real_servers.insert(0, RealServer { address: "10.0.0.9".parse().expect("an address"), ..server });
    let after = assign_after(&more, MARKS, &State::default(), former).expect("room");
    assert_eq!((of(&after)[0].clone(), of(&after)[1..].to_vec()), (("10.0.0.9".into(), 3), of(&indexes)));
}

#[test]
fn an_index_still_in_the_kernel_is_not_given_away() {
    let config = sample::config(ForwardingMethod::Dr);
    let before = assign(&config, MARKS, &State::default()).expect("room");
    let actual = desired::rows(&config, &before, &Availability::default());
    let mut other = config;
    other.clusters[0].real_servers[0].address = "10.0.0.99".parse().expect("an address");
    assert_eq!(of(&assign(&other, MARKS, &actual).expect("room"))[0], ("10.0.0.99".into(), 3));
}

#[test]
fn a_pinned_mark_wins() {
    let mut config = sample::config(ForwardingMethod::Dr);
    config.clusters[0].real_servers[2].mark = Some(0);
    let indexes = assign(&config, MARKS, &State::default()).expect("room");
    assert_eq!(of(&indexes), [("10.0.0.11".into(), 1), ("10.0.0.12".into(), 2), ("10.0.0.13".into(), 0)]);
}

/// Every look assigns all of them: a search for each among all others would take longer than the watchdog waits.
#[test]
fn as_many_as_there_can_be_keep_their_indexes() {
    let mut config = sample::config(ForwardingMethod::Nat);
    let cluster = &mut config.clusters[0];
    let address = |a: u8, b: usize| std::net::Ipv4Addr::new(10, a, 0, u8::try_from(b).expect("128")).into();
    cluster.vips = (0..128).map(|b| address(1, b)).collect();
    let server = cluster.real_servers[0].clone();
    cluster.real_servers = (0..128).map(|b| RealServer { address: address(2, b), ..server.clone() }).collect();
    let before = assign(&config, MARKS, &State::default()).expect("room");
    let actual = desired::rows(&config, &before, &Availability::default());
    assert_eq!(before.placements.len(), usize::from(Marks::MAX_INDEX) + 1);
    assert_eq!(assign(&config, MARKS, &actual).expect("room"), before);
    config.clusters[0].ports.push(2121);
    assert_eq!(assign(&config, MARKS, &actual).expect("room").placements.len(), before.placements.len());
    config.clusters[0].vips.push(address(1, 200));
    assert_eq!(assign(&config, MARKS, &actual), Err(TooMany));
}
