//! What must hold after every row, whatever happened. Each check is a function of what the nodes say, and its test shows that it
//! can fail.

use guilder_tests::swarm::Money;
use serde_json::Value;

/// What a check found wrong.
pub(crate) type Found = Result<(), String>;

/// A task as its buyer tells it, and what its buyer has of it.
#[derive(Clone, Debug)]
pub(crate) struct Bought {
    pub(crate) task: Value,
    /// The output, if it was delivered.
    pub(crate) output: Option<Vec<u8>>,
    /// What `audit show` says of the award itself, if there is one.
    pub(crate) hire: Option<Value>,
}

impl Bought {
    /// What the seller has got for it, as the buyer has it.
    fn paid(&self) -> u64 {
        let money = self.task["money"].as_str().unwrap_or_default();
        if money == "paid" {
            return self.task["price"].as_u64().unwrap_or_default();
        }
        // "7 came back, 0 redeemed by the seller, 1 of fees"
        let redeemed = money.strip_suffix(" of fees").and_then(|text| text.split(", ").nth(1));
        let redeemed = redeemed.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        // What was locked covers the mint's fee for redeeming it, too.
        let price = self.task["price"].as_u64().unwrap_or_default();
        redeemed.map_or(0, |redeemed| redeemed.min(price))
    }

    pub(crate) fn is_paid(&self) -> bool {
        self.paid() > 0
    }

    pub(crate) fn is_delivered(&self) -> bool {
        self.task["state"] == "delivered"
    }
}

/// Every coin that the mint has issued is in one wallet, and every coin that a wallet was given is there or was a fee.
pub(crate) fn coins_are_conserved(wallets: Money, in_circulation: u64) -> Found {
    let (held, accounted) = (wallets.total(), wallets.total() + wallets.fees);
    if wallets.lost > 0 {
        return Err(format!("{} lost", wallets.lost));
    }
    if held != in_circulation {
        return Err(format!("{held} are in wallets, {in_circulation} were issued and not taken back"));
    }
    if accounted != wallets.funded {
        return Err(format!("{} came in, {accounted} are there or were fees", wallets.funded));
    }
    Ok(())
}

/// No task goes on for ever, and no money is on its way for ever. `waits` says whether some may still wait for its locktime.
pub(crate) fn nothing_is_stuck(tasks: &[Value], wallets: Money, waits: bool) -> Found {
    if let Some(open) = tasks.iter().find(|task| task["ended"] != true) {
        return Err(format!("a task goes on: {open}"));
    }
    if wallets.at_risk + wallets.earned + wallets.pending > 0 || (!waits && wallets.waiting > 0) {
        return Err(format!("money is on its way: {wallets:?}"));
    }
    Ok(())
}

/// An award is redeemed once at most and for its price, by whom its buyer paid; and of one hire one award at most is paid.
pub(crate) fn no_work_is_paid_twice(bought: &[Bought], sold: &[Value]) -> Found {
    for task in bought {
        let award = &task.task["award"];
        let sales: Vec<_> = sold.iter().filter(|sale| !award.is_null() && sale["award"] == *award).collect();
        let redeemed: u64 = sales.iter().filter_map(|sale| sale["redeemed"].as_u64()).sum();
        let paid = task.paid();
        if sales.len() > 1 || redeemed != paid {
            return Err(format!("{paid} paid, {redeemed} redeemed in {} sales of {}", sales.len(), task.task));
        }
    }
    let known = |sale: &&Value| bought.iter().any(|task| task.task["award"] == sale["award"]);
    if let Some(sale) = sold.iter().find(|sale| sale["redeemed"].as_u64() > Some(0) && !known(sale)) {
        return Err(format!("redeemed of nobody: {sale}"));
    }
    let paid = |of: &Value| bought.iter().filter(|task| task.is_paid() && task.task["id"] == *of).count();
    match bought.iter().find(|task| paid(&task.task["id"]) > 1) {
        Some(task) => Err(format!("paid twice: {}", task.task)),
        None => Ok(()),
    }
}

/// Who paid has a signed receipt and the output that it commits to; or the file names the deviation and who answers for it.
pub(crate) fn no_payment_without_a_delivery(bought: &[Bought], expected: &[u8]) -> Found {
    for task in bought.iter().filter(|task| task.is_paid()) {
        let answer = task.hire.as_ref().and_then(|hire| hire["answer"].as_str()).unwrap_or_default();
        let is_signed = task.task["receipt"].is_string() && answer == "delivered";
        // Each is what somebody signed, against whom the file then says so.
        let is_named = ["called-off", "seller-failed", "seller-contradicts"].contains(&answer);
        if task.is_delivered() && task.output.as_deref() != Some(expected) {
            return Err(format!("another output: {}", task.task));
        }
        if !is_signed && (task.is_delivered() || !is_named) {
            return Err(format!("paid, and the file says {answer:?}: {}", task.task));
        }
    }
    Ok(())
}

/// Each bundle holds by itself, and is about the task that it was asked of.
pub(crate) fn every_bundle_verifies(reports: &[(String, Value)]) -> Found {
    for (task, report) in reports {
        if report["valid"] != true || report["task"] != task.as_str() {
            return Err(format!("the bundle of {task} says {report}"));
        }
    }
    Ok(())
}

/// What was awarded under a delegation is within its budget, and none of it is uncounted.
pub(crate) fn budgets_hold(awarded: &[u64], counted: Option<u64>, budget: u64) -> Found {
    let sum: u64 = awarded.iter().sum();
    let counted = counted.unwrap_or(sum);
    if sum > counted || counted > budget {
        return Err(format!("awarded {sum}, counted {counted}, of a budget of {budget}"));
    }
    Ok(())
}

/// What was awarded is delivered and paid: where nothing worse happened than a crash or a lost word, nobody may get away. Whose own
/// disk is full `may_give_up` what it can't do without one: it signs that it failed, and isn't paid.
pub(crate) fn what_was_awarded_is_delivered(bought: &[Bought], may_give_up: bool) -> Found {
    for task in bought.iter().filter(|task| !task.task["award"].is_null()) {
        let answer = task.hire.as_ref().and_then(|hire| hire["answer"].as_str());
        let is_given_up = may_give_up && answer == Some("seller-failed") && !task.is_paid();
        let is_done = task.is_delivered() && task.is_paid();
        if !is_done && !is_given_up {
            return Err(format!("awarded, and not delivered and paid: {}", task.task));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn task(id: &str, award: &str, state: &str, money: &str) -> Bought {
        let task = json!({ "id": id, "award": award, "state": state, "money": money, "price": 7, "receipt": "r", "ended": true });
        Bought { task, output: Some(b"out".to_vec()), hire: Some(json!({ "answer": "delivered" })) }
    }

    fn sale(award: &str, redeemed: u64) -> Value {
        json!({ "award": award, "redeemed": redeemed })
    }

    #[test]
    fn a_coin_that_is_lost_made_or_unaccounted_for_is_seen() {
        let good = Money { available: 97, fees: 3, funded: 100, ..Money::default() };
        coins_are_conserved(good, 97).unwrap();
        coins_are_conserved(good, 98).unwrap_err();
        coins_are_conserved(Money { available: 98, ..good }, 98).unwrap_err();
        coins_are_conserved(Money { available: 96, ..good }, 96).unwrap_err();
        coins_are_conserved(Money { lost: 1, ..good }, 97).unwrap_err();
    }

    #[test]
    fn what_goes_on_is_seen() {
        let ended = [json!({ "ended": true })];
        let waiting = Money { waiting: 1, ..Money::default() };
        nothing_is_stuck(&ended, waiting, true).unwrap();
        nothing_is_stuck(&ended, waiting, false).unwrap_err();
        nothing_is_stuck(&[json!({ "ended": false })], Money::default(), true).unwrap_err();
        for money in [Money { at_risk: 1, ..waiting }, Money { earned: 1, ..waiting }, Money { pending: 1, ..waiting }]
        {
            nothing_is_stuck(&ended, money, true).unwrap_err();
        }
    }

    #[test]
    fn work_that_is_paid_twice_is_seen() {
        let one = [task("t", "a", "delivered", "paid")];
        no_work_is_paid_twice(&one, &[sale("a", 7)]).unwrap();
        for sold in [&[sale("a", 14)][..], &[sale("a", 7), sale("a", 7)], &[sale("a", 7), sale("b", 7)], &[]] {
            no_work_is_paid_twice(&one, sold).unwrap_err();
        }
        let twice = [task("t", "a", "delivered", "paid"), task("t", "b", "delivered", "paid")];
        no_work_is_paid_twice(&twice, &[sale("a", 7), sale("b", 7)]).unwrap_err();
        no_work_is_paid_twice(&[task("t", "a", "failed", "came back")], &[sale("a", 7)]).unwrap_err();
    }

    #[test]
    fn a_payment_for_nothing_is_seen() {
        let good = task("t", "a", "delivered", "paid");
        no_payment_without_a_delivery(std::slice::from_ref(&good), b"out").unwrap();
        no_payment_without_a_delivery(std::slice::from_ref(&good), b"other").unwrap_err();
        no_payment_without_a_delivery(&[Bought { output: None, ..good.clone() }], b"out").unwrap_err();
        no_payment_without_a_delivery(&[Bought { hire: None, ..good }], b"out").unwrap_err();
        let taken = task("t", "a", "failed", "0 came back, 7 redeemed by the seller, 0 of fees");
        let says = |answer: &str| Bought { hire: Some(json!({ "answer": answer })), ..taken.clone() };
        no_payment_without_a_delivery(&[says("seller-failed"), says("called-off")], b"out").unwrap();
        no_payment_without_a_delivery(&[says("accepted")], b"out").unwrap_err();
    }

    #[test]
    fn a_bundle_that_does_not_hold_or_is_of_another_task_is_seen() {
        let report = |valid: bool, of: &str| ("t".to_owned(), json!({ "valid": valid, "task": of }));
        every_bundle_verifies(&[report(true, "t")]).unwrap();
        every_bundle_verifies(&[report(true, "t"), report(false, "t")]).unwrap_err();
        every_bundle_verifies(&[report(true, "u")]).unwrap_err();
    }

    #[test]
    fn a_budget_that_is_exceeded_or_forgotten_is_seen() {
        budgets_hold(&[5, 5], Some(12), 12).unwrap();
        budgets_hold(&[5, 5], Some(5), 12).unwrap_err();
        budgets_hold(&[5, 5], None, 9).unwrap_err();
        budgets_hold(&[], Some(13), 12).unwrap_err();
    }

    #[test]
    fn an_award_that_comes_to_nothing_is_seen() {
        what_was_awarded_is_delivered(&[task("t", "a", "delivered", "paid")], false).unwrap();
        what_was_awarded_is_delivered(&[task("t", "a", "delivered", "locked")], false).unwrap_err();
        let failed = |answer: &str, money: &str| {
            let hire = Some(json!({ "answer": answer }));
            [Bought { hire, ..task("t", "a", "failed", money) }]
        };
        what_was_awarded_is_delivered(&failed("seller-failed", "comes back"), true).unwrap();
        what_was_awarded_is_delivered(&failed("seller-failed", "comes back"), false).unwrap_err();
        what_was_awarded_is_delivered(&failed("seller-failed", "paid"), true).unwrap_err();
        what_was_awarded_is_delivered(&failed("accepted", "comes back"), true).unwrap_err();
    }
}
