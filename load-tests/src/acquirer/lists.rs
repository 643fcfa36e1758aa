//! What stands at the bank: `/payments/get`, `/payments/find` and `/payments/list`, and the second versions of the
//! latter two.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hookline_schemas::time::Timestamp;

use super::answer::Envelope;
use super::fields::Fields;
use super::site::OpenSite;
use super::transaction::{Status, Transaction};

/// How many transactions a page has.
const PAGE: usize = 100;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// `/payments/get`: also of a refund.
pub(super) fn get(site: &mut OpenSite, fields: &Fields) -> anyhow::Result<Envelope> {
    let model = site.transaction(fields.transaction_id()?)?.clone().model(&site.public_id);
    Ok(Envelope::found(&model))
}

/// `/payments/find`: the last payment of an order.
pub(super) fn find(site: &OpenSite, fields: &Fields) -> anyhow::Result<Envelope> {
    find_among(site, fields, |transaction| transaction.original.is_none())
}

/// `/v2/payments/find`: the last payment or refund of an order.
pub(super) fn find_any(site: &OpenSite, fields: &Fields) -> anyhow::Result<Envelope> {
    find_among(site, fields, |_| true)
}

fn find_among(
    site: &OpenSite,
    fields: &Fields,
    counts: fn(&Transaction) -> bool,
) -> anyhow::Result<Envelope> {
    let invoice_id = fields.text("InvoiceId").context("InvoiceId is needed")?;
    let of_order = |transaction: &&Transaction| transaction.invoice_id.as_deref() == Some(invoice_id);
    let mut found = site.transactions.values().rev().filter(|transaction| counts(transaction));
    let last = found.find(of_order).context("Not found")?;
    Ok(Envelope::found(&last.model(&site.public_id)))
}

/// `/payments/list`: a whole day.
pub(super) fn list_day(site: &OpenSite, fields: &Fields) -> anyhow::Result<Envelope> {
    let date = fields.text("Date").context("Date is needed")?;
    let offset = match fields.text("TimeZone") {
        None | Some("UTC") => "Z",
        Some("MSK") => "+03:00",
        Some(zone) => bail!("this server does not know the zone {zone}"),
    };
    let begin = Timestamp::parse_rfc3339(&format!("{date}T00:00:00{offset}"))?;
    let end = begin.after(DAY);
    let on_the_day = |transaction: &&Transaction| (begin..end).contains(&transaction.created_at);
    Ok(models(site, site.transactions.values().filter(on_the_day)))
}

/// `/v2/payments/list`: one page between two times, both inclusive.
pub(super) fn list(site: &OpenSite, fields: &Fields) -> anyhow::Result<Envelope> {
    let time = |name: &str| {
        let text = fields.text(name).with_context(|| format!("{name} is needed"))?;
        Timestamp::parse_rfc3339(text).with_context(|| format!("{name} is no time"))
    };
    let between = time("CreatedDateGte")?..=time("CreatedDateLte")?;
    let page = fields.number("PageNumber").and_then(|page| usize::try_from(page).ok());
    let page = page.filter(|page| *page >= 1).context("PageNumber is 1 or more")?;
    let statuses = fields.texts("Statuses");
    let known = |name: &&str| Status::ALL.iter().any(|status| status.name() == *name);
    ensure!(statuses.iter().all(|name| known(&name.as_str())), "Statuses has one that is not known");
    let wanted = |transaction: &&Transaction| {
        let status = transaction.status.name();
        between.contains(&transaction.created_at)
            && (statuses.is_empty() || statuses.iter().any(|name| name == status))
    };
    let found = site.transactions.values().filter(wanted);
    Ok(models(site, found.skip((page - 1).saturating_mul(PAGE)).take(PAGE)))
}

fn models<'a>(site: &OpenSite, transactions: impl Iterator<Item = &'a Transaction>) -> Envelope {
    let models: Vec<_> = transactions.map(|transaction| transaction.model(&site.public_id)).collect();
    Envelope::found(&models)
}
