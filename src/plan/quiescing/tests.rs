use super::*;
use crate::config::{UnexpectedData, sample};
use crate::plan::availability::Availability;
use crate::plan::desired;

/// The kernel under this configuration, with so many connections on each server of the control service.
fn kernel(config: &Config, used: u32) -> State {
    let indexes = mark_index::assign(config, mark_index::marks(config), &State::default()).expect("room");
    let mut state = desired::rows(config, &indexes, &Availability::default());
    for (key, service) in &mut state.services {
        if matches!(key, ServiceKey::Tcp(_)) {
            service.destinations.values_mut().for_each(|entry| entry.connections = used);
        }
    }
    state
}

fn without_rs3(config: &Config) -> Config {
    let mut config = config.clone();
    config.clusters[0].real_servers.pop();
    config
}

#[test]
fn a_removed_server_stays_with_its_rows_until_its_last_connection() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr, ForwardingMethod::Tun] {
        let old = sample::config(forwarding);
        let new = without_rs3(&old);
        let actual = kernel(&old, 2);
        let inforce = with(&new, &old, &actual);
        let quiescing = &inforce.clusters[0].real_servers[2];
        assert_eq!(quiescing, &RealServer { weight: 0, ..old.clusters[0].real_servers[2].clone() });
        let indexes = mark_index::assign(&inforce, mark_index::marks(&inforce), &actual).expect("room");
        let steps = crate::state::diff(&actual, &desired::rows(&inforce, &indexes, &Availability::default()));
        let words: Vec<_> = steps.iter().map(ToString::to_string).collect();
        let [step] = &words[..] else { panic!("{words:#?}") };
        assert!(step.starts_with("ipvsadm -e -t 192.0.2.10:21 -r 10.0.0.13:21 ") && step.ends_with("-w 0"), "{step}");
        assert_eq!(
            notes(&new, &inforce, &indexes, &actual),
            Notes {
                quiescing: [
                    "downloads/rs3 (10.0.0.13) is no longer in the file: it is removed when its last connection ends (2 now)"
                        .into()
                ]
                .into(),
                ..Notes::default()
            }
        );
        assert_eq!(with(&new, &inforce, &kernel(&old, 0)), new);
        assert_eq!(with(&new, &inforce, &State::default()), inforce, "ipvsadm -C ends no session");
        assert_eq!(with(&old, &inforce, &actual), old, "it comes back as it was");
    }
}

#[test]
fn a_server_that_moves_leaves_its_name_to_the_new_one() {
    let old = sample::config(ForwardingMethod::Nat);
    let mut new = old.clone();
    new.clusters[0].real_servers[2].address = "10.0.0.23".parse().expect("an address");
    let actual = kernel(&old, 1);
    let inforce = with(&new, &old, &actual);
    let names = |config: &Config| -> Vec<_> {
        config.clusters[0].real_servers.iter().map(|server| (server.name.clone(), server.weight)).collect()
    };
    assert_eq!(names(&inforce)[2..], [("rs3".to_owned(), 1), ("10.0.0.13".to_owned(), 0)]);
    assert_eq!(with(&new, &inforce, &actual), inforce, "and keeps its own");
}

/// An index is an address's: what is marked for the old one goes on to it.
#[test]
fn another_address_of_a_name_leaves_sessions_their_index() {
    let mut old = sample::config(ForwardingMethod::Nat);
    old.clusters[0].real_servers[1].host = Some("ftp2.example.net".into());
    let mut new = old.clone();
    new.clusters[0].real_servers[1].address = "10.0.0.22".parse().expect("an address");
    let actual = kernel(&old, 1);
    let inforce = with(&new, &old, &actual);
    let quiescing = &inforce.clusters[0].real_servers[3];
    let address = old.clusters[0].real_servers[1].address;
    assert_eq!((quiescing.name.as_str(), quiescing.weight, quiescing.address), ("10.0.0.12", 0, address));
    assert_eq!(quiescing.host, None, "the name is the other one's");
    let indexes = mark_index::assign(&inforce, mark_index::marks(&inforce), &actual).expect("room");
    let of: Vec<_> =
        indexes.placements.iter().map(|placement| (placement.address.to_string(), placement.index)).collect();
    let expected = [("10.0.0.11", 0), ("10.0.0.22", 3), ("10.0.0.13", 2), ("10.0.0.12", 1)];
    assert_eq!(of, expected.map(|(address, index)| (address.to_owned(), index)));
    let said = notes(&new, &inforce, &indexes, &actual).quiescing;
    let said: Vec<_> = said.iter().map(String::as_str).collect();
    assert_eq!(
        said,
        [
            "downloads/10.0.0.12 (10.0.0.12) is no longer in the file, nor the address of a name in it: it is removed when \
          its last connection ends (1 now)"
        ]
    );
    assert_eq!(with(&new, &inforce, &kernel(&old, 0)), new, "and it goes with its last connection");
}

#[test]
fn a_restart_reads_it_back_from_the_rows() {
    for forwarding in [ForwardingMethod::Nat, ForwardingMethod::Dr] {
        let mut old = sample::config(forwarding);
        old.clusters[0].real_servers[2].max_sessions = Some(7);
        let new = without_rs3(&old);
        let before = remembered(&new, &kernel(&old, 1));
        let mut expected =
            RealServer { weight: 0, name: "10.0.0.13".into(), ..old.clusters[0].real_servers[2].clone() };
        expected.active_port = (forwarding == ForwardingMethod::Nat).then_some(20);
        assert_eq!(before.clusters[0].real_servers[2], expected);
        assert_eq!(with(&new, &before, &kernel(&old, 1)).clusters[0].real_servers.len(), 3);
    }
}

#[test]
fn a_restart_reads_back_where_a_server_calls_from() {
    let mut old = sample::config(ForwardingMethod::Dr);
    old.clusters[0].real_servers[2].active_ports = PortRange::new(32768, 60999);
    let quiescing = &remembered(&without_rs3(&old), &kernel(&old, 1)).clusters[0].real_servers[2];
    assert_eq!((quiescing.active_port, quiescing.active_ports), (Some(20), PortRange::new(32768, 60999)));

    let mut old = sample::config(ForwardingMethod::Dr);
    old.clusters[0].unexpected_data = UnexpectedData::Pass;
    old.clusters[0].real_servers[2].active_port = Some(2023);
    let quiescing = &remembered(&without_rs3(&old), &kernel(&old, 1)).clusters[0].real_servers[2];
    assert_eq!((quiescing.active_port, quiescing.active_ports), (Some(2023), None));
}

/// With two control ports a server calls from 20 and from 2120, beside its range.
#[test]
fn a_restart_takes_no_single_port_for_a_range() {
    let mut old = sample::config(ForwardingMethod::Dr);
    old.clusters[0].ports = vec![21, 2121];
    old.clusters[0].real_servers[2].active_ports = PortRange::new(32768, 60999);
    let quiescing = &remembered(&without_rs3(&old), &kernel(&old, 1)).clusters[0].real_servers[2];
    assert_eq!((quiescing.active_port, quiescing.active_ports), (None, PortRange::new(32768, 60999)));
}

#[test]
fn a_removed_port_takes_no_new_sessions_and_its_old_ones_stay() {
    let mut old = sample::config(ForwardingMethod::Nat);
    old.clusters[0].ports = vec![21, 2121];
    let mut new = old.clone();
    new.clusters[0].ports = vec![21];
    let actual = kernel(&old, 1);
    let inforce = with(&new, &old, &actual);
    assert_eq!(
        (&inforce.clusters[0].ports[..], &inforce.clusters[0].quiescing_ports[..]),
        (&[21, 2121][..], &[2121][..])
    );
    let indexes = mark_index::assign(&inforce, mark_index::marks(&inforce), &actual).expect("room");
    let steps = crate::state::diff(&actual, &desired::rows(&inforce, &indexes, &Availability::default()));
    assert_eq!(steps.len(), 3, "{steps:#?}");
    assert!(steps.iter().all(|step| step.to_string().contains("-e -t 192.0.2.10:2121")), "{steps:#?}");
    assert_eq!(remembered(&new, &actual).clusters[0].ports, [21, 2121]);
}

#[test]
fn a_removed_cluster_and_a_removed_vip_leave_whole() {
    let mut old = sample::config(ForwardingMethod::Dr);
    let mut second = old.clusters[0].clone();
    second.name = "uploads".into();
    second.vips = vec!["192.0.2.11".parse().expect("a VIP"), "192.0.2.12".parse().expect("a VIP")];
    old.clusters.push(second);
    let mut new = old.clone();
    new.clusters[1].vips.pop();
    let inforce = with(&new, &old, &kernel(&old, 1));
    assert_eq!(inforce.clusters[2].vips, ["192.0.2.12".parse::<IpAddr>().expect("a VIP")]);
    new.clusters.pop();
    let inforce = with(&new, &old, &kernel(&old, 1));
    assert_eq!(inforce.clusters.len(), 2);
    assert_eq!(inforce.clusters[1].vips, old.clusters[1].vips);
    assert!(inforce.clusters[1].real_servers.iter().all(|server| server.weight == 0));
    // What is quiescing goes on quiescing; what was renamed is not quiescing.
    assert_eq!(with(&new, &inforce, &kernel(&old, 1)), inforce);
    let mut renamed = old.clone();
    renamed.clusters[1].name = "incoming".into();
    assert_eq!(with(&renamed, &old, &kernel(&old, 1)), renamed);
}

#[test]
fn a_range_that_has_a_new_owner_is_said_beforehand() {
    let old = sample::config(ForwardingMethod::Dr);
    let mut new = without_rs3(&old);
    new.clusters[0].real_servers[0].passive_ports = old.clusters[0].real_servers[2].passive_ports;
    let actual = kernel(&old, 4);
    let inforce = with(&new, &old, &actual);
    assert_eq!(inforce.clusters[0].real_servers[2].passive_ports, PortRange::UNPRIVILEGED);
    let indexes = mark_index::assign(&inforce, mark_index::marks(&inforce), &actual).expect("room");
    let Notes { harm, quiescing } = notes(&new, &inforce, &indexes, &actual);
    let said: Vec<_> = harm.into_iter().chain(quiescing).collect();
    let said = said.join("\n");
    for part in
        ["rs1 (10.0.0.11): ports 31000-31999", "rs3 (10.0.0.13): ports 33000-33999", "rs3 (10.0.0.13) is no longer"]
    {
        assert!(said.contains(part), "no `{part}` in\n{said}");
    }
}

#[test]
fn another_forwarding_method_is_said_beforehand() {
    let old = sample::config(ForwardingMethod::Nat);
    let new = sample::config(ForwardingMethod::Dr);
    let actual = kernel(&old, 1);
    let indexes = mark_index::assign(&new, mark_index::marks(&new), &actual).expect("room");
    assert_eq!(notes(&new, &new, &indexes, &actual).harm.len(), 3);
    assert_eq!(notes(&new, &new, &indexes, &kernel(&old, 0)), Notes::default());
}

#[test]
fn only_a_range_that_loses_ports_is_said_beforehand() {
    let old = sample::config(ForwardingMethod::Dr);
    let actual = kernel(&old, 1);
    for (first, last, harm) in [(30500, 31999, 0), (31500, 31999, 1)] {
        let mut new = old.clone();
        new.clusters[0].real_servers[0].passive_ports = PortRange::new(first, last).expect("a range");
        let indexes = mark_index::assign(&new, mark_index::marks(&new), &actual).expect("room");
        assert_eq!(notes(&new, &new, &indexes, &actual).harm.len(), harm, "{first}-{last}");
    }
}

#[test]
fn with_persistence_all_ports_are_one_service() {
    let mut old = sample::config(ForwardingMethod::Nat);
    old.clusters[0].ports = vec![21, 2121];
    old.clusters[0].persistence = Some(std::time::Duration::from_secs(300));
    let new = without_rs3(&old);
    let mut actual = kernel(&old, 0);
    assert_eq!(with(&new, &old, &actual), new);
    let persistent = actual.services.values_mut().find(|service| service.service.persistence.is_some()).expect("one");
    persistent.destinations.values_mut().for_each(|entry| entry.connections = 1);
    assert_eq!(with(&new, &old, &actual).clusters[0].real_servers.len(), 3);
}
