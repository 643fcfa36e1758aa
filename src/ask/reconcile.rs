//! `hookline reconcile`: a gateway's payments, compared with CloudPayments', a day at a time.

use std::process::ExitCode;
use std::time::Duration;

use hookline_control::{MissingEvent, ReconcileRequest, Reconciled};
use hookline_schemas::ids::GatewayId;
use hookline_schemas::time::{Clock, Timestamp};

use super::{AskError, Asked, Process, parse_time};

/// What is compared in one question.
const STRETCH: Duration = Duration::from_secs(24 * 60 * 60);

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct ReconcileArguments {
    /// The gateway whose payments are compared
    #[arg(long, value_name = "ID")]
    gateway: String,
    /// Payments that began then or later: a time, or how long ago (`6h`, `2days`)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Timestamp,
    /// Payments that began earlier; without it all until now
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Make what is missing the events that the notifications would have been: they are delivered
    #[arg(long)]
    repair: bool,
    #[command(flatten)]
    asked: Asked,
}

/// Compares; status 1, where something is missing and was not repaired.
#[expect(clippy::print_stdout, reason = "the command line speaks on stdout")]
pub(crate) async fn run(arguments: ReconcileArguments) -> Result<ExitCode, AskError> {
    let ReconcileArguments { gateway, since, until, repair, asked } = arguments;
    let until = until.unwrap_or_else(|| Clock::start().wall());
    let process = Process::of(&asked)?;
    let mut all = Reconciled::default();
    let mut from = since;
    while from < until {
        let to = until.min(from.after(STRETCH));
        let request = ReconcileRequest { gateway: GatewayId::new(&gateway), since: from, until: to, repair };
        let reconciled: Reconciled = process.post("/reconciliations", &request).await?;
        if !asked.json {
            reconciled.missing.iter().for_each(|missing| println!("{}", line(missing)));
            eprintln!(
                "{} to {}: {} transactions",
                from.to_rfc3339(),
                to.to_rfc3339(),
                reconciled.transactions
            );
        }
        all.transactions += reconciled.transactions;
        all.unclear += reconciled.unclear;
        all.missing_count += reconciled.missing_count;
        all.repaired += reconciled.repaired;
        all.missing.extend(reconciled.missing);
        from = to;
    }
    if asked.json {
        println!("{}", serde_json::to_string(&all)?);
    } else {
        println!("{}", summary(&all));
    }
    let is_whole = all.missing_count == all.repaired;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(missing: &MissingEvent) -> String {
    let MissingEvent { id, event_type, transaction_id, amount, invoice_id, occurred_at } = missing;
    let at = occurred_at.map(Timestamp::to_rfc3339).unwrap_or_default();
    let invoice = invoice_id.as_ref().map(|invoice| format!("  invoice {invoice}")).unwrap_or_default();
    format!("{}  {id}  transaction {transaction_id}  {amount}  {at}{invoice}", event_type.as_str())
}

fn summary(all: &Reconciled) -> String {
    let Reconciled { transactions, unclear, missing_count, repaired, .. } = all;
    let mut text = format!("{transactions} transactions: {missing_count} missing, {repaired} repaired");
    if *unclear > 0 {
        text += &format!(
            "; {unclear} tell nothing of a payment (payouts, payments not finished, or not understood)"
        );
    }
    if missing_count > repaired {
        text += "; --repair makes events of what is missing";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_what_is_left_to_do() {
        let reconciled = |missing_count, repaired, unclear| Reconciled {
            transactions: 9,
            unclear,
            missing: Vec::new(),
            missing_count,
            repaired,
        };
        for (all, expected) in [
            (reconciled(0, 0, 0), "9 transactions: 0 missing, 0 repaired"),
            (reconciled(2, 2, 0), "9 transactions: 2 missing, 2 repaired"),
            (
                reconciled(2, 0, 0),
                "9 transactions: 2 missing, 0 repaired; --repair makes events of what is missing",
            ),
            (
                reconciled(0, 0, 3),
                "9 transactions: 0 missing, 0 repaired; 3 tell nothing of a payment (payouts, payments not finished, \
                 or not understood)",
            ),
        ] {
            assert_eq!(summary(&all), expected);
        }
    }
}
