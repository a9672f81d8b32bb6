//! `log`: names stand in the lines of the transfer log, and nowhere else.

use super::checker::Checker;
use crate::config::model::Log;

pub(super) fn check(log: &Log, checker: &Checker<'_, '_>) {
    if log.names && !log.transfers && checker.sound("log.transfers") {
        let what = "without effect: no line has names but those of `log.transfers`, which is false";
        checker.warning("log.names", what, "`transfers: true` too, or no `names`");
    }
}
