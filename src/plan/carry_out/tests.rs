use super::*;
use crate::config::sample;
use crate::lvs::ForwardingMethod;
use crate::plan::availability::Availability;
use crate::plan::reconcile::{Seen, SeenTable, TableState};
use crate::state::State;

/// A kernel that writes down what it is asked, and refuses one step.
#[derive(Default)]
struct Fake {
    asked: Vec<String>,
    refuses: Option<usize>,
    claimed: BTreeSet<ServiceKey>,
    lost: bool,
    /// How many steps had been asked for when the calls were to be forgotten.
    forgot: Option<usize>,
}

impl Fake {
    fn refusing(step: usize) -> Self {
        Self { refuses: Some(step), ..Self::default() }
    }

    fn ask(&mut self, what: impl ToString) -> Result<(), usize> {
        self.asked.push(what.to_string());
        let step = self.asked.len() - 1;
        if self.refuses == Some(step) { Err(step) } else { Ok(()) }
    }
}

impl Hands for Fake {
    type Error = usize;

    fn rules(&mut self, _: &Plan) -> Result<Option<Exchanged>, usize> {
        self.ask("rules").map(|()| None)
    }

    fn rows_are_lost(&mut self) {
        self.lost = true;
    }

    fn stamp(&mut self) -> Result<(), usize> {
        self.ask("stamp")
    }

    fn rules_are_right(&mut self) {}

    fn timeouts(&mut self, _: Timeouts) -> Result<(), usize> {
        self.ask("timeouts")
    }

    fn claim(&mut self, services: &BTreeSet<ServiceKey>) {
        self.claimed.extend(services);
    }

    fn disclaim(&mut self, service: &ServiceKey) {
        self.claimed.remove(service);
    }

    fn transaction(&mut self, text: &str) -> Result<(), usize> {
        assert!(text.ends_with('\n') && !text.is_empty());
        self.ask("nft")
    }

    fn change(&mut self, change: &Change) -> Result<(), usize> {
        self.ask(change)
    }

    fn forget_calls(&mut self, _: &Plan) {
        self.forgot = Some(self.asked.len());
    }
}

fn vip() -> LocalAddress {
    LocalAddress { interface: "vip0".into(), address: [192, 0, 2, 10].into() }
}

/// Everything from nothing: rules, timeouts, services, elements and a VIP.
fn plan() -> Plan {
    let mut config = sample::config(ForwardingMethod::Nat);
    config.clusters[0].vip_interface = Some("vip0".into());
    let idle = |tcp| {
        let [tcp, tcp_fin, udp] = [tcp, 120, 300].map(std::time::Duration::from_secs);
        Timeouts { tcp, tcp_fin, udp }
    };
    config.kernel.timeouts = Some(idle(1800));
    let (actual, interfaces) = (State::default(), [("vip0".to_owned(), BTreeSet::new())].into());
    let (table, listening, helper) = (SeenTable::default(), vec![], vec![]);
    let (others, timeouts, keeps_who_added) = (&[][..], idle(900), true);
    let seen =
        Seen { actual: &actual, table, others, listening, helper, timeouts, interfaces, keeps_who_added, former: None };
    Plan::new(&config, &Availability::default(), &seen).expect("nothing in the way")
}

#[test]
fn rules_come_before_rows_and_neighbouring_elements_in_one_transaction() {
    let (plan, mut kernel) = (plan(), Fake::default());
    assert!(carry_out(&mut kernel, &plan).is_ok());
    assert_eq!(kernel.asked[..2], ["rules", "stamp"]);
    assert_eq!(kernel.asked.last().map(String::as_str), Some("ip address add 192.0.2.10/32 dev vip0 proto 0x46"));
    let at = |start: &str| kernel.asked.iter().position(|step| step.starts_with(start)).expect(start);
    assert!(at("ipvsadm -A -f") < at("nft") && at("nft") < at("ipvsadm -A -t"), "{:#?}", kernel.asked);
    assert_eq!(kernel.asked.iter().filter(|step| *step == "nft").count(), 1);
    assert_eq!(kernel.claimed, plan.wanted);
    assert_eq!(kernel.forgot, Some(kernel.asked.len()), "last");
    let mut kernel = Fake::default();
    assert!(carry_out(&mut kernel, &Plan { table: TableState::Edited, ..plan }).is_ok() && kernel.forgot.is_none());
}

#[test]
fn nothing_is_done_after_a_refusal_whichever_step_it_is() {
    let plan = plan();
    let mut whole = Fake::default();
    assert!(carry_out(&mut whole, &plan).is_ok());
    for step in 0..whole.asked.len() {
        let mut kernel = Fake::refusing(step);
        assert!(matches!(carry_out(&mut kernel, &plan), Err(refused) if refused == step));
        assert_eq!(kernel.asked, whole.asked[..=step]);
        // What may have been made is known to be ours before the first of it is.
        assert!(kernel.claimed.is_empty() == (step < 3));
    }
}

#[test]
fn rows_that_went_with_the_table_are_told_of_whichever_later_step_is_refused() {
    let plan = plan();
    assert!(plan.flushed());
    for step in 0..4 {
        let mut kernel = Fake::refusing(step);
        assert!(carry_out(&mut kernel, &plan).is_err());
        // A table that was not written is gone still, and the next look says so.
        assert_eq!(kernel.lost, step > 0, "step {step}");
    }
    // Rules that someone edited stand with all their rows.
    let edited = Plan { table: TableState::Edited, ..plan };
    let mut kernel = Fake::default();
    assert!(carry_out(&mut kernel, &edited).is_ok() && !kernel.lost);
}

#[test]
fn a_service_that_goes_is_ours_until_it_is_gone() {
    let mut plan = plan();
    let gone = *plan.wanted.first().expect("a service");
    plan.changes = vec![Change::DeleteService(gone)];
    for (refuses, ours) in [(None, false), (Some(3), true)] {
        let mut kernel = Fake { refuses, ..Fake::default() };
        assert_eq!(carry_out(&mut kernel, &plan).is_err(), ours);
        assert_eq!(kernel.claimed.contains(&gone), ours);
    }
}

impl Rows for Fake {
    type Error = usize;

    fn addresses(&mut self) -> Result<Vec<LocalAddress>, usize> {
        self.ask("addresses").map(|()| vec![vip()])
    }

    fn delete_address(&mut self, _: &LocalAddress) -> Result<(), usize> {
        self.ask("delete address")
    }

    fn table(&mut self) -> Result<bool, usize> {
        self.ask("table").map(|()| true)
    }

    fn services(&mut self) -> Result<Vec<ServiceKey>, usize> {
        let key = |port: u16| ServiceKey::Tcp(([192, 0, 2, 10], port).into());
        self.ask("services").map(|()| vec![key(21), key(990)])
    }

    fn delete_service(&mut self, _: &ServiceKey) -> Result<(), usize> {
        self.ask("delete service")
    }

    fn delete_table(&mut self) -> Result<(), usize> {
        self.ask("delete table")
    }
}

#[test]
fn taking_away_goes_on_and_leaves_the_table_where_anything_is_left() {
    let mut whole = Fake::default();
    assert!(take_away(&mut whole).is_empty());
    let all = ["addresses", "delete address", "table", "services", "delete service", "delete service", "delete table"];
    assert_eq!(whole.asked, all);
    for step in 0..all.len() {
        let mut kernel = Fake::refusing(step);
        assert_eq!(take_away(&mut kernel), [step]);
        let tried = |what: &str| kernel.asked.iter().any(|asked| asked == what);
        assert_eq!(tried("delete table"), step == all.len() - 1, "step {step}");
        assert!(tried("services"), "step {step}");
        assert_eq!(tried("delete address"), step != 0, "step {step}");
    }
}
