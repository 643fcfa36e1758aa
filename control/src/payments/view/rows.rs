//! Rows: entries of the table as they are put into the database, and read out of it.

use hookline_event_log::Entry;
use hookline_schemas::delivery::decode;
use hookline_schemas::ids::{GatewayId, OrganizationId, TopUpId};
use hookline_schemas::payment::{PaymentRecord, TopUpRecord};
use hookline_schemas::time::Timestamp;
use serde::de::DeserializeOwned;
use tokio_rusqlite::rusqlite::types::{Type, ValueRef};
use tokio_rusqlite::rusqlite::{Connection, Error, OptionalExtension, Params, Result, params};
use xxhash_rust::xxh3::xxh3_64;

use super::{Shown, Update};

/// What is old enough to be forgotten.
#[derive(Debug, Default)]
pub(crate) struct Aged {
    /// The keys of payments.
    pub(crate) payments: Vec<String>,
    /// Top-ups that Check need not know any more.
    pub(crate) ended: Vec<TopUpRecord>,
    /// Top-ups of which nothing need be known any more.
    pub(crate) old: Vec<TopUpRecord>,
}

/// Takes an entry; what it changes for those who watch. An entry of a later version is left out.
pub(super) fn take(database: &Connection, entry: &Entry) -> Result<Option<Update>> {
    let Ok(key) = std::str::from_utf8(&entry.key) else { return Ok(None) };
    if key.starts_with(PaymentRecord::PREFIX) {
        take_payment(database, key, entry.value.as_deref())
    } else if key.starts_with(TopUpRecord::PREFIX) {
        take_top_up(database, key, entry.value.as_deref())
    } else {
        take_other(database, key, entry.value.as_deref()).map(|()| None)
    }
}

fn take_payment(database: &Connection, key: &str, value: Option<&[u8]>) -> Result<Option<Update>> {
    let Some(value) = value else {
        forget_payment(database, key)?;
        database.prepare_cached("DELETE FROM payments WHERE key = ?1")?.execute([key])?;
        return Ok(None);
    };
    let Ok(payment) = decode::<PaymentRecord>(value) else { return left_out(key) };
    let put = "INSERT OR REPLACE INTO payments \
               (key, id, organization, gateway, club, client, invoice, status, is_test, currency, credited, refunded, \
                open_refunds, refund_asked_at, created_at, record) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    database.prepare_cached(put)?.execute(params![
        key,
        payment.id.as_str(),
        payment.organization.as_str(),
        payment.gateway.as_str(),
        payment.club_id.as_str(),
        payment.client_id,
        payment.invoice_id,
        payment.status().as_str(),
        payment.test_mode,
        payment.currency,
        payment.credited().to_string(),
        payment.refunded().to_string(),
        i64::try_from(payment.open_refunds().count()).unwrap_or(i64::MAX),
        payment.open_refunds().map(|(refund, _)| milliseconds(refund.at)).min(),
        milliseconds(payment.created_at),
        value,
    ])?;
    let refund = "INSERT OR REPLACE INTO refunds (gateway, transaction_id, payment) VALUES (?1, ?2, ?3)";
    for transaction_id in payment.refunds.iter().filter_map(|refund| refund.transaction_id.as_deref()) {
        database.prepare_cached(refund)?.execute([payment.gateway.as_str(), transaction_id, key])?;
    }
    let event = "INSERT OR IGNORE INTO events (id, payment) VALUES (?1, ?2)";
    for id in payment.events.keys() {
        database.prepare_cached(event)?.execute([id.as_str(), key])?;
    }
    Ok(Some(Update {
        organization: payment.organization,
        club: payment.club_id,
        key: key.to_owned(),
        id: payment.id.to_string(),
        invoice: payment.invoice_id,
        client: payment.client_id,
    }))
}

/// What points at a payment goes with it.
fn forget_payment(database: &Connection, key: &str) -> Result<()> {
    let Some(payment) = payment(database, key)? else { return Ok(()) };
    for id in payment.events.keys() {
        database.prepare_cached("DELETE FROM events WHERE id = ?1")?.execute([id.as_str()])?;
    }
    for transaction_id in payment.refunds.iter().filter_map(|refund| refund.transaction_id.as_deref()) {
        let forget = "DELETE FROM refunds WHERE gateway = ?1 AND transaction_id = ?2";
        database.prepare_cached(forget)?.execute([payment.gateway.as_str(), transaction_id])?;
    }
    Ok(())
}

fn take_top_up(database: &Connection, key: &str, value: Option<&[u8]>) -> Result<Option<Update>> {
    let Some(value) = value else {
        database.prepare_cached("DELETE FROM top_ups WHERE key = ?1")?.execute([key])?;
        return Ok(None);
    };
    let Ok(top_up) = decode::<TopUpRecord>(value) else { return left_out(key) };
    let put = "INSERT OR REPLACE INTO top_ups \
               (key, id, organization, gateway, club, client, parameters, has_url, is_forgotten, created_at, expires_at, \
                record) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    database.prepare_cached(put)?.execute(params![
        key,
        top_up.id.as_str(),
        top_up.organization.as_str(),
        top_up.gateway.as_str(),
        top_up.club_id.as_str(),
        top_up.client_id,
        parameters_hash(&top_up),
        top_up.payment_url.is_some(),
        top_up.is_forgotten,
        milliseconds(top_up.created_at),
        milliseconds(top_up.expires_at),
        value,
    ])?;
    Ok(Some(Update {
        organization: top_up.organization,
        club: top_up.club_id,
        key: key.to_owned(),
        id: top_up.id.to_string(),
        invoice: Some(top_up.id.to_string()),
        client: Some(top_up.client_id),
    }))
}

fn take_other(database: &Connection, key: &str, value: Option<&[u8]>) -> Result<()> {
    match value {
        Some(value) => {
            let put = "INSERT OR REPLACE INTO others (key, value) VALUES (?1, ?2)";
            database.prepare_cached(put)?.execute(params![key, value]).map(drop)
        }
        None => database.prepare_cached("DELETE FROM others WHERE key = ?1")?.execute([key]).map(drop),
    }
}

fn left_out(key: &str) -> Result<Option<Update>> {
    tracing::error!(key, "left out an entry of `payments` that is not of this version");
    Ok(None)
}

/// The entry with this key, encoded.
pub(super) fn entry(database: &Connection, key: &str) -> Result<Option<Vec<u8>>> {
    let find = if key.starts_with(PaymentRecord::PREFIX) {
        "SELECT record FROM payments WHERE key = ?1"
    } else if key.starts_with(TopUpRecord::PREFIX) {
        "SELECT record FROM top_ups WHERE key = ?1"
    } else {
        "SELECT value FROM others WHERE key = ?1"
    };
    database.prepare_cached(find)?.query_row([key], |row| row.get(0)).optional()
}

/// The payment with this key.
pub(super) fn payment(database: &Connection, key: &str) -> Result<Option<PaymentRecord>> {
    record(database, "SELECT record FROM payments WHERE key = ?1", [key])
}

/// What an id is about.
pub(super) fn shown(database: &Connection, organization: &OrganizationId, id: &str) -> Result<Option<Shown>> {
    let asked = [id, organization.as_str()];
    let top_up = "SELECT record FROM top_ups WHERE id = ?1 AND organization = ?2 LIMIT 1";
    if let Some(top_up) = record(database, top_up, asked)? {
        return with_payment(database, top_up).map(Some);
    }
    let payment = "SELECT record FROM payments WHERE id = ?1 AND organization = ?2 LIMIT 1";
    record(database, payment, asked)?.map(|payment| with_top_up(database, payment)).transpose()
}

/// The payments that an id is about: an event's, a payment's own, a top-up's or another order's, with all its tries, or
/// a transaction's at one of these gateways.
pub(super) fn payments_about(
    database: &Connection,
    organization: &OrganizationId,
    gateways: &[GatewayId],
    id: &str,
) -> Result<Vec<PaymentRecord>> {
    let mut found = Vec::new();
    for find in [
        "SELECT p.record FROM events e JOIN payments p ON p.key = e.payment WHERE e.id = ?1 AND p.organization = ?2",
        "SELECT record FROM payments WHERE id = ?1 AND organization = ?2",
    ] {
        found.extend(records(database, find, [id, organization.as_str()])?);
    }
    let of_invoice =
        "SELECT record FROM payments WHERE gateway = ?1 AND invoice = ?2 ORDER BY created_at DESC LIMIT 100";
    for gateway in gateways {
        found.extend(payment(database, &PaymentRecord::key_of(gateway, id))?);
        found.extend(records(database, of_invoice, [gateway.as_str(), id])?);
    }
    found.retain(|payment: &PaymentRecord| payment.organization == *organization);
    Ok(found)
}

/// A payment with the top-up that it pays. A try that failed, and a second payment of the same top-up, stand for
/// themselves.
pub(super) fn with_top_up(database: &Connection, payment: PaymentRecord) -> Result<Shown> {
    let alone = |payment| Shown { top_up: None, payment: Some(payment) };
    let Some(invoice) = &payment.invoice_id else { return Ok(alone(payment)) };
    let key = format!("{}{}/{invoice}", TopUpRecord::PREFIX, payment.gateway);
    let top_up = record(database, "SELECT record FROM top_ups WHERE key = ?1", [key])?;
    let Some(top_up) = top_up else { return Ok(alone(payment)) };
    let shown = with_payment(database, top_up)?;
    let is_the_one = shown.payment.as_ref().is_some_and(|taker| taker.key() == payment.key());
    Ok(if is_the_one { shown } else { alone(payment) })
}

/// A top-up with the payment that took it: one that was received, else one that is held, else one that was let go, the
/// earliest of them; else its latest try.
pub(super) fn with_payment(database: &Connection, top_up: TopUpRecord) -> Result<Shown> {
    let find = "SELECT record FROM payments WHERE gateway = ?1 AND invoice = ?2 \
                ORDER BY CASE status WHEN 'CONFIRMED' THEN 0 WHEN 'AUTHORIZED' THEN 1 WHEN 'CANCELLED' THEN 2 \
                ELSE 3 END, CASE WHEN status IN ('FAILED', 'PENDING') THEN -created_at ELSE created_at END, id LIMIT 1";
    let payment = record(database, find, [top_up.gateway.as_str(), top_up.id.as_str()])?;
    Ok(Shown { payment, top_up: Some(top_up) })
}

/// The top-up of these parameters that can still be paid: nobody has taken it, and it has been answered, or is young
/// enough to be under way.
pub(super) fn pending_twin(
    database: &Connection,
    organization: &str,
    parameters: i64,
    now: Timestamp,
    young: Timestamp,
) -> Result<Option<TopUpId>> {
    let find = "SELECT id FROM top_ups t \
                WHERE organization = ?1 AND parameters = ?2 AND expires_at > ?3 AND (has_url OR created_at > ?4) \
                AND NOT EXISTS (SELECT 1 FROM payments p WHERE p.gateway = t.gateway AND p.invoice = t.id \
                                AND p.status IN ('CONFIRMED', 'AUTHORIZED', 'CANCELLED')) LIMIT 1";
    let mut find = database.prepare_cached(find)?;
    let parameters = params![organization, parameters, milliseconds(now), milliseconds(young)];
    let found: Option<String> = find.query_row(parameters, |row| row.get(0)).optional()?;
    Ok(found.map(TopUpId::new))
}

/// What is old enough to be forgotten.
pub(super) fn aged(
    database: &Connection,
    payments_before: Timestamp,
    ended_before: Timestamp,
    most: usize,
) -> Result<Aged> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut find = database.prepare_cached("SELECT key FROM payments WHERE created_at < ?1 LIMIT ?2")?;
    let payments = find.query_map(params![milliseconds(payments_before), most], |row| row.get(0))?;
    let payments = payments.collect::<Result<_>>()?;
    let top_ups = |is_forgotten: bool, before: Timestamp| {
        let find = "SELECT record FROM top_ups WHERE is_forgotten = ?1 AND expires_at < ?2 LIMIT ?3";
        records(database, find, params![is_forgotten, milliseconds(before), most])
    };
    let (ended, old) = (top_ups(false, ended_before)?, top_ups(true, payments_before)?);
    Ok(Aged { payments, ended, old })
}

/// The record that a statement finds, if it finds one.
fn record<R: DeserializeOwned>(database: &Connection, find: &str, asked: impl Params) -> Result<Option<R>> {
    database.prepare_cached(find)?.query_row(asked, |row| read(row.get_ref(0)?)).optional()
}

/// All records that a statement finds.
pub(super) fn records<R: DeserializeOwned>(
    database: &Connection,
    find: &str,
    asked: impl Params,
) -> Result<Vec<R>> {
    database.prepare_cached(find)?.query_and_then(asked, |row| read(row.get_ref(0)?))?.collect()
}

/// Reads a record as it stands in a row.
fn read<R: DeserializeOwned>(value: ValueRef<'_>) -> Result<R> {
    let corrupt = |error| Error::FromSqlConversionFailure(0, Type::Blob, error);
    let bytes = value.as_blob().map_err(|error| corrupt(error.into()))?;
    decode(bytes).map_err(|error| corrupt(error.into()))
}

/// What makes two top-ups the same: everything that was asked for. Two that differ have the same hash once in 2^64.
pub(super) fn parameters_hash(top_up: &TopUpRecord) -> i64 {
    let TopUpRecord { gateway, club_id, client_id, amount, currency, description, return_url, .. } = top_up;
    let amount = amount.normalized().to_string();
    let parts = [
        gateway.as_str(),
        club_id.as_str(),
        client_id,
        &amount,
        currency,
        description.as_deref().unwrap_or_default(),
        return_url.as_deref().unwrap_or_default(),
    ];
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    i64::from_be_bytes(xxh3_64(&bytes).to_be_bytes())
}

/// A time as it stands in a row.
pub(super) fn milliseconds(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}
