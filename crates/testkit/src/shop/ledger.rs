//! The invoices: baskets, cancellations, adjustments, codes that are no products, and when each row became known.

use paceline_core::Timestamp;
use paceline_core::random::{Random, stream};
use rand::RngExt;

use super::ShopSpec;
use super::calendar::{Calendar, SECONDS_PER_DAY};
use super::catalogue::round_pence;
use super::people::{HOME_COUNTRY, cluster_styles, draw_country, draw_taste};
use super::truth::Truth;
use crate::sampling::{normal, pick, pick_cumulative};

/// Probability that an exploring line after the first is a sibling of the one before.
const SIBLING_SHARE: f64 = 0.45;
/// Repeats look back over this many lines.
const MEMORY_LINES: usize = 80;
/// From this quantity on a line is priced as wholesale.
const WHOLESALE_QUANTITY: i32 = 48;
const FIRST_INVOICE: usize = 489_434;

/// One row of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Six digits; a cancellation begins with `C`.
    pub invoice: String,
    /// Stock code, or a code such as `POST` that is no product.
    pub code: String,
    /// Missing on stock adjustments.
    pub description: Option<String>,
    /// Pieces; negative on cancellations and on some adjustments.
    pub quantity: i32,
    /// When it happened, seconds since 1970, whole minutes.
    pub timestamp_s: i64,
    /// Pounds for one piece; zero on adjustments.
    pub price: f32,
    /// Missing on anonymous invoices.
    pub user_id: Option<i32>,
    /// Of the buyer.
    pub country: &'static str,
    /// When the row became known, seconds since 1970; always after `timestamp_s`.
    pub loaded_at_s: i64,
}

/// A visit before it has a number.
struct Invoice {
    timestamp_s: i64,
    loaded_at_s: i64,
    cancellation: bool,
    user_id: Option<i32>,
    country: &'static str,
    rows: Vec<Row>,
}

struct Row {
    code: String,
    description: Option<String>,
    quantity: i32,
    price: f64,
}

/// Who shops: a user with an id or somebody anonymous.
struct Shopper<'a> {
    user_id: Option<i32>,
    country: &'static str,
    repeat_share: f64,
    basket_lines: f64,
    quantity_scale: f64,
    taste: &'a [f64],
}

/// Everything that happened, in order of time and numbered.
pub(super) fn write_ledger(spec: &ShopSpec, truth: &Truth) -> Vec<Line> {
    let mut invoices = Vec::new();
    for (index, user) in truth.users().iter().enumerate() {
        let mut random = stream(spec.seed, &format!("shop visits of user {index}"));
        let taste = truth.taste(&user.style, user.price_sensitivity);
        let shopper = Shopper {
            user_id: Some(user.id),
            country: user.country,
            repeat_share: user.repeat_share,
            basket_lines: user.basket_lines,
            quantity_scale: user.quantity_scale,
            taste: &taste,
        };
        let mut owned = Vec::new();
        for day in user.active.clone() {
            let expected = user.visits_per_day * truth.calendar.demand(day);
            if expected > 0.0 && random.random_bool(1.0 - (-expected).exp()) {
                visit(&shopper, day, spec, truth, &mut owned, &mut random, &mut invoices);
            }
        }
    }
    add_anonymous(spec, truth, &mut invoices);
    add_bookkeeping(spec, &truth.calendar, truth, &mut invoices);
    number(invoices)
}

/// One basket, what it costs to post, and what of it is sent back later.
fn visit(
    shopper: &Shopper<'_>,
    day: usize,
    spec: &ShopSpec,
    truth: &Truth,
    owned: &mut Vec<usize>,
    random: &mut Random,
    invoices: &mut Vec<Invoice>,
) {
    let timestamp_s = truth.calendar.draw_time_s(day, random);
    let basket = draw_basket(shopper, day / 7, truth, owned, random);
    let mut rows = Vec::with_capacity(basket.len() + 1);
    for &item in &basket {
        let row = price_row(truth, item, timestamp_s, shopper.quantity_scale, random);
        if random.random_bool(spec.return_share) {
            invoices.extend(cancel(&row, shopper, timestamp_s, day, &truth.calendar, random));
        }
        rows.push(row);
    }
    if shopper.country != HOME_COUNTRY && random.random_bool(0.4) {
        rows.push(Row { code: "POST".into(), description: Some("POSTAGE".into()), quantity: 1, price: 18.0 });
    } else if random.random_bool(0.012) {
        rows.push(Row { code: "M".into(), description: Some("Manual".into()), quantity: 1, price: 4.25 });
    }
    owned.extend(basket);
    let delay_s = draw_delay_s(spec.late_share, random);
    invoices.push(Invoice {
        timestamp_s,
        loaded_at_s: timestamp_s + delay_s,
        cancellation: false,
        user_id: shopper.user_id,
        country: shopper.country,
        rows,
    });
}

/// The items of one basket in the order they were put in, each once (taking one twice is a larger quantity).
fn draw_basket(shopper: &Shopper<'_>, week: usize, truth: &Truth, owned: &[usize], random: &mut Random) -> Vec<usize> {
    let weights = truth.weights(shopper.taste, week);
    let cumulative: Vec<f64> = weights
        .iter()
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect();
    let line_count = (shopper.basket_lines * (0.7 * normal(random)).exp()).clamp(1.0, 200.0).round() as usize;
    let recent = &owned[owned.len().saturating_sub(MEMORY_LINES)..];
    let mut basket = Vec::with_capacity(line_count);
    let mut previous = None;
    for _ in 0..line_count {
        let item = if !recent.is_empty() && random.random_bool(shopper.repeat_share) {
            // A remembered item that is no longer sold is simply not bought.
            Some(recent[random.random_range(0..recent.len())]).filter(|&item| weights[item] > 0.0)
        } else {
            let explored = match previous.filter(|_| random.random_bool(SIBLING_SHARE)) {
                Some(item) => draw_sibling(item, truth, &weights, random),
                None => pick_cumulative(&cumulative, random),
            };
            previous = Some(explored);
            Some(explored)
        };
        basket.extend(item.filter(|item| !basket.contains(item)));
    }
    basket
}

/// An item of the same family, itself included, by the same law. Families lie side by side in the catalogue.
fn draw_sibling(item: usize, truth: &Truth, weights: &[f64], random: &mut Random) -> usize {
    let items = truth.items();
    let family = items[item].family;
    let start = items[..item].iter().rposition(|other| other.family != family).map_or(0, |before| before + 1);
    let length = items[start..].iter().take_while(|other| other.family == family).count();
    start + pick(&weights[start..start + length], random)
}

fn price_row(truth: &Truth, item: usize, timestamp_s: i64, quantity_scale: f64, random: &mut Random) -> Row {
    let item = &truth.items()[item];
    let price = item.price_at(Timestamp::from_seconds(timestamp_s));
    // Cheap things are taken by the dozen.
    let pieces = quantity_scale * 8.0 / price.max(0.4).sqrt() * (0.9 * normal(random)).exp();
    let quantity = pieces.round().clamp(1.0, 2_400.0) as i32;
    let discount = if quantity >= WHOLESALE_QUANTITY { 0.85 } else { 1.0 };
    Row {
        code: item.code.clone(),
        description: Some(item.description.clone()),
        quantity,
        price: round_pence(price * discount),
    }
}

/// The later cancellation of a line, unless it would fall after the end of the table.
fn cancel(
    row: &Row,
    shopper: &Shopper<'_>,
    bought_s: i64,
    day: usize,
    calendar: &Calendar,
    random: &mut Random,
) -> Option<Invoice> {
    let wanted = day + random.random_range(1..=30);
    let sent_back = random.random_range(1..=row.quantity);
    let back_on = (wanted..calendar.day_count()).find(|&day| calendar.demand(day) > 0.0)?;
    let timestamp_s = calendar.draw_time_s(back_on, random);
    debug_assert!(timestamp_s > bought_s);
    Some(Invoice {
        timestamp_s,
        loaded_at_s: timestamp_s + draw_delay_s(0.0, random),
        cancellation: true,
        user_id: shopper.user_id,
        country: shopper.country,
        rows: vec![Row {
            code: row.code.clone(),
            description: row.description.clone(),
            quantity: -sent_back,
            price: row.price,
        }],
    })
}

/// Invoices of people without an id, spread over the days by demand.
fn add_anonymous(spec: &ShopSpec, truth: &Truth, invoices: &mut Vec<Invoice>) {
    let mut random = stream(spec.seed, "shop anonymous");
    let clusters = cluster_styles(spec.seed);
    let known = invoices.iter().filter(|invoice| !invoice.cancellation).count() as f64;
    let count = (known * spec.anonymous_share / (1.0 - spec.anonymous_share)).round() as usize;
    for _ in 0..count {
        let day = pick(truth.calendar.demands(), &mut random);
        let (_, style) = draw_taste(&clusters, &mut random);
        let taste = truth.taste(&style, random.random_range(0.0..0.8));
        let shopper = Shopper {
            user_id: None,
            country: draw_country(&mut random),
            repeat_share: 0.0,
            basket_lines: spec.basket_lines * 0.75,
            quantity_scale: 0.5,
            taste: &taste,
        };
        visit(&shopper, day, spec, truth, &mut Vec::new(), &mut random, invoices);
    }
}

/// Stock adjustments without price, description and user, and the bank's and the marketplace's charges.
fn add_bookkeeping(spec: &ShopSpec, calendar: &Calendar, truth: &Truth, invoices: &mut Vec<Invoice>) {
    let mut random = stream(spec.seed, "shop bookkeeping");
    let count = invoices.len() / 20;
    for _ in 0..count {
        let day = pick(calendar.demands(), &mut random);
        let timestamp_s = calendar.draw_time_s(day, &mut random);
        let charge = |code: &str, description: &str, price: f64| Row {
            code: code.into(),
            description: Some(description.into()),
            quantity: 1,
            price,
        };
        let row = match pick(&[0.8, 0.08, 0.06, 0.06], &mut random) {
            0 => Row {
                code: truth.items()[random.random_range(0..truth.items().len())].code.clone(),
                description: None,
                quantity: random.random_range(-60..=20) * 2 + 1,
                price: 0.0,
            },
            1 => charge("DOT", "DOTCOM POSTAGE", round_pence(40.0 * (0.8 * normal(&mut random)).exp())),
            2 => charge("BANK CHARGES", "Bank Charges", 15.0),
            _ => charge("AMAZONFEE", "AMAZON FEE", round_pence(60.0 * (0.8 * normal(&mut random)).exp())),
        };
        invoices.push(Invoice {
            timestamp_s,
            loaded_at_s: timestamp_s + draw_delay_s(spec.late_share, &mut random),
            cancellation: false,
            user_id: None,
            country: HOME_COUNTRY,
            rows: vec![row],
        });
    }
}

/// Minutes for most invoices, one to many days for the late ones.
fn draw_delay_s(late_share: f64, random: &mut Random) -> i64 {
    let minutes = random.random_range(5..=60) * 60;
    if random.random_bool(late_share) {
        let days = (1.0 - 5.0 * (1.0 - random.random::<f64>()).ln()).min(40.0);
        minutes + (days * SECONDS_PER_DAY as f64) as i64
    } else {
        minutes
    }
}

fn number(mut invoices: Vec<Invoice>) -> Vec<Line> {
    // Stable, so invoices of one minute keep the order in which they were drawn.
    invoices.sort_by_key(|invoice| invoice.timestamp_s);
    let mut lines = Vec::with_capacity(invoices.iter().map(|invoice| invoice.rows.len()).sum());
    for (position, invoice) in invoices.into_iter().enumerate() {
        let prefix = if invoice.cancellation { "C" } else { "" };
        let name = format!("{prefix}{}", FIRST_INVOICE + position);
        lines.extend(invoice.rows.into_iter().map(|row| Line {
            invoice: name.clone(),
            code: row.code,
            description: row.description,
            quantity: row.quantity,
            timestamp_s: invoice.timestamp_s,
            price: row.price as f32,
            user_id: invoice.user_id,
            country: invoice.country,
            loaded_at_s: invoice.loaded_at_s,
        }));
    }
    lines
}
