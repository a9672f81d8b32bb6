//! In which order a plan is carried out and our rows are taken away, and when to go on after an error.

use std::collections::BTreeSet;

use super::exchange::Exchanged;
use super::reconcile::Plan;
use crate::lvs::{ServiceKey, Timeouts};
use crate::state::{Change, LocalAddress};

/// What carrying a plan out does to a kernel.
pub trait Hands {
    /// What the kernel refused.
    type Error;

    /// Writes the rules of a plan that has some. Returns how the tables were exchanged, if they were.
    fn rules(&mut self, plan: &Plan) -> Result<Option<Exchanged>, Self::Error>;

    /// Tells that the dynamic rows are gone, with the table or with a set that was exchanged: whoever knows them writes them
    /// again, also when a later step is refused.
    fn rows_are_lost(&mut self);

    /// Writes down what the kernel makes of the rules that were written.
    fn stamp(&mut self) -> Result<(), Self::Error>;

    /// Tells that the rules in the kernel are those that were written.
    fn rules_are_right(&mut self);

    /// Sets IPVS's timeouts: `ipvsadm --set`.
    fn timeouts(&mut self, wanted: Timeouts) -> Result<(), Self::Error>;

    /// These services are ours from now on, also if another program flushes the table that says so.
    fn claim(&mut self, services: &BTreeSet<ServiceKey>);

    /// This service is no longer ours.
    fn disclaim(&mut self, service: &ServiceKey);

    /// `nft -f -`: the kernel takes the whole text or nothing of it.
    fn transaction(&mut self, text: &str) -> Result<(), Self::Error>;

    /// One service, real server or address.
    fn change(&mut self, change: &Change) -> Result<(), Self::Error>;

    /// Has connection tracking forget the calls of NAT servers that nothing translated, while there were no rules. What cannot be
    /// done is said, and ends nothing.
    fn forget_calls(&mut self, plan: &Plan);
}

/// Carries a plan out: rules, timeouts, then the changes in their order, neighbouring elements in one transaction. The
/// first error ends it: what was there before, and what was done so far, stays, and the next look plans the rest.
///
/// # Errors
/// What the kernel refused.
pub fn carry_out<H: Hands>(hands: &mut H, plan: &Plan) -> Result<(), H::Error> {
    let exchanged = if plan.rules.is_some() {
        let exchanged = hands.rules(plan)?;
        // At once: the next look finds a table that stands, and would not know.
        if plan.flushed() || exchanged.is_some() {
            hands.rows_are_lost();
        }
        hands.stamp()?;
        exchanged
    } else {
        hands.rules_are_right();
        None
    };
    if let Some(timeouts) = plan.timeouts {
        hands.timeouts(timeouts)?;
    }
    hands.claim(&plan.wanted);
    let filled = |change: &Change| exchanged.as_ref().is_some_and(|exchanged| exchanged.fills(change));
    let mut transaction = String::new();
    for change in plan.changes.iter().filter(|change| !filled(change)) {
        if let Some(line) = change.nft() {
            transaction.push_str(&line);
            transaction.push('\n');
        } else {
            commit(hands, &mut transaction)?;
            hands.change(change)?;
        }
    }
    commit(hands, &mut transaction)?;
    // Now that all rows are there: before, more of them would come.
    if plan.flushed() {
        hands.forget_calls(plan);
    }
    for change in &plan.changes {
        if let Change::DeleteService(key) = change {
            hands.disclaim(key);
        }
    }
    Ok(())
}

fn commit<H: Hands>(hands: &mut H, transaction: &mut String) -> Result<(), H::Error> {
    if transaction.is_empty() { Ok(()) } else { hands.transaction(&std::mem::take(transaction)) }
}

/// Rows that are to be taken away.
pub trait Rows {
    /// What the kernel refused.
    type Error;

    /// The addresses that we added.
    fn addresses(&mut self) -> Result<Vec<LocalAddress>, Self::Error>;

    /// Takes a VIP off its interface: `ip address delete`.
    fn delete_address(&mut self, address: &LocalAddress) -> Result<(), Self::Error>;

    /// Whether our table is there.
    fn table(&mut self) -> Result<bool, Self::Error>;

    /// Our services, as far as the table could be read that names them.
    fn services(&mut self) -> Result<Vec<ServiceKey>, Self::Error>;

    /// Deletes one of our services, with its real servers: `ipvsadm -D`.
    fn delete_service(&mut self, service: &ServiceKey) -> Result<(), Self::Error>;

    /// Deletes table `inet ftpdirector`: `nft delete table`.
    fn delete_table(&mut self) -> Result<(), Self::Error>;
}

/// Takes every row away and goes on after an error. Returns all errors.
pub fn take_away<R: Rows>(rows: &mut R) -> Vec<R::Error> {
    let mut errors = Vec::new();
    // First: a VIP without its services would answer with resets.
    match rows.addresses() {
        Ok(addresses) => errors.extend(addresses.iter().filter_map(|address| rows.delete_address(address).err())),
        Err(error) => errors.push(error),
    }
    let there = rows.table().unwrap_or_else(|error| {
        errors.push(error);
        false
    });
    match rows.services() {
        Ok(services) => errors.extend(services.iter().filter_map(|service| rows.delete_service(service).err())),
        Err(error) => errors.push(error),
    }
    // The table says which services are ours: it goes last, and stays while one of them does.
    if there && errors.is_empty() {
        errors.extend(rows.delete_table().err());
    }
    errors
}

#[cfg(test)]
mod tests;
