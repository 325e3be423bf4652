use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use paceline_core::{Period, Timestamp};

use super::*;

/// Drawn once: most tests only read it.
static SMALL: LazyLock<Shop> = LazyLock::new(|| Shop::generate(&ShopSpec::small()));

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn check_share(what: &str, part: usize, whole: usize, expected: std::ops::Range<f64>) {
    let share = part as f64 / whole as f64;
    assert!(expected.contains(&share), "{what}: {part} of {whole} is {share:.4}, expected in {expected:?}");
}

#[test]
fn the_same_spec_gives_the_same_bytes_and_another_seed_gives_others() {
    let spec = ShopSpec { users: 60, items: 80, months: 4, ..ShopSpec::small() };
    let bytes_of = |spec: &ShopSpec| {
        let directory = tempfile::tempdir().unwrap();
        std::fs::read(Shop::generate(spec).write(directory.path()).unwrap()).unwrap()
    };
    let bytes = bytes_of(&spec);
    assert_eq!(bytes, bytes_of(&spec));
    assert_ne!(bytes, bytes_of(&ShopSpec { seed: 2, ..spec }));
}

#[test]
fn an_unwritable_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let occupied = directory.path().join("occupied");
    std::fs::write(&occupied, "a file").unwrap();
    let shop = Shop::generate(&ShopSpec { users: 5, items: 5, months: 1, ..ShopSpec::small() });
    let message = shop.write(&occupied).unwrap_err().to_string();
    assert!(message.contains("occupied/transactions.parquet"), "{message}");
}

#[test]
fn the_table_has_the_public_layout_and_the_real_tables_oddities() {
    let table = SMALL.transactions();
    assert_eq!(table.schema(), transactions_schema());
    let lines = SMALL.lines();
    assert!((30_000..80_000).contains(&lines.len()), "{} lines", lines.len());

    let count = |what: fn(&Line) -> bool| lines.iter().filter(|line| what(line)).count();
    check_share("lines without a user", count(|line| line.user_id.is_none()), lines.len(), 0.15..0.30);
    check_share("cancellations", count(|line| line.invoice.starts_with('C')), lines.len(), 0.012..0.025);
    check_share("no description", count(|line| line.description.is_none()), lines.len(), 0.001..0.01);
    check_share("no price", count(|line| line.price <= 0.0), lines.len(), 0.001..0.01);
    let is_product = |line: &Line| line.code.len() >= 5 && line.code.bytes().take(5).all(|byte| byte.is_ascii_digit());
    let odd = lines.iter().filter(|line| !is_product(line)).count();
    check_share("codes that are no products", odd, lines.len(), 0.002..0.012);
    check_share("home country", count(|line| line.country == "United Kingdom"), lines.len(), 0.85..0.97);
    check_share("late rows", count(|line| line.loaded_at_s - line.timestamp_s > 86_400), lines.len(), 0.015..0.05);

    let times = table.column_by_name("timestamp").unwrap().as_primitive::<Int64Type>();
    let loaded = table.column_by_name("loaded_at").unwrap().as_primitive::<Int64Type>();
    assert!(times.values().is_sorted());
    assert!(times.values().iter().zip(loaded.values()).all(|(event, available)| available > event));
    let last = times.values().last().copied().unwrap();
    assert!(
        last <= 1_323_435_000 && last > 1_323_435_000 - 86_400,
        "the real table ends on 2011-12-09 at 12:50, not {last}"
    );
    assert!(times.values()[0] >= 1_285_891_200, "14 months before December 2011 is 2010-10-01");
    let quantities = table.column_by_name("quantity").unwrap().as_primitive::<Int32Type>();
    let cancelled = |row: usize| lines[row].invoice.starts_with('C');
    assert!((0..lines.len()).filter(|&row| cancelled(row)).all(|row| quantities.value(row) < 0));
    let sheets: BTreeSet<_> = table.column_by_name("sheet").unwrap().as_string::<i64>().iter().flatten().collect();
    assert_eq!(sheets.into_iter().collect::<Vec<_>>(), ["2009-2010", "2010-2011"]);
}

/// Event time and quantity of each purchase, by user and stock code.
type Purchases<'a> = HashMap<(Option<i32>, &'a str), Vec<(i64, i32)>>;

#[test]
fn every_cancellation_takes_back_something_bought_before() {
    let mut bought = Purchases::new();
    let mut seen = 0;
    for line in SMALL.lines() {
        let key = (line.user_id, line.code.as_str());
        if line.invoice.starts_with('C') {
            seen += 1;
            let earlier = bought.get(&key).map_or(&[][..], Vec::as_slice);
            let fits = earlier.iter().any(|(when, quantity)| *when < line.timestamp_s && *quantity >= -line.quantity);
            assert!(fits, "{line:?}");
        } else {
            bought.entry(key).or_default().push((line.timestamp_s, line.quantity));
        }
    }
    assert!(seen > 100);
}

#[test]
fn invoices_hold_together_and_codes_name_one_product() {
    let mut invoices: HashMap<&str, Vec<&Line>> = HashMap::new();
    for line in SMALL.lines() {
        invoices.entry(&line.invoice).or_default().push(line);
    }
    for lines in invoices.values() {
        let first = lines[0];
        assert!(lines.iter().all(|line| line.timestamp_s == first.timestamp_s && line.user_id == first.user_id));
        assert_eq!(lines.iter().map(|line| &line.code).collect::<BTreeSet<_>>().len(), lines.len(), "a code twice");
    }
    let codes: BTreeSet<_> = SMALL.truth().items().iter().map(|item| &item.code).collect();
    assert_eq!(codes.len(), SMALL.truth().items().len());
    let fitting = |code: &str| {
        let (digits, letter) = code.split_at(5);
        digits.bytes().all(|byte| byte.is_ascii_digit()) && letter.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    assert!(codes.iter().all(|code| fitting(code) && code.len() <= 6));
    assert!(codes.iter().any(|code| code.len() == 6) && codes.iter().any(|code| code.len() == 5));
}

/// Different items of one family stand together within a basket far more often than across a user's successive baskets,
/// where only the user's taste brings them together.
#[test]
fn lines_of_a_basket_are_related() {
    let truth = SMALL.truth();
    let mut baskets: BTreeMap<i32, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for line in SMALL.lines().iter().filter(|line| line.quantity > 0) {
        if let (Some(user), Some(item)) = (line.user_id, truth.item_index(&line.code)) {
            baskets.entry(user).or_default().entry(&line.invoice).or_default().push(item);
        }
    }
    let siblings = |a: usize, b: usize| a != b && truth.items()[a].family == truth.items()[b].family;
    let (mut inside, mut inside_pairs, mut across, mut across_pairs) = (0, 0, 0, 0);
    for invoices in baskets.values() {
        let invoices: Vec<_> = invoices.values().collect();
        for (i, basket) in invoices.iter().enumerate() {
            for (position, &left) in basket.iter().enumerate() {
                let rest = &basket[position + 1..];
                inside += rest.iter().filter(|&&right| siblings(left, right)).count();
                inside_pairs += rest.len();
                let next = invoices.get(i + 1).map_or(&[][..], |next| next.as_slice());
                across += next.iter().filter(|&&right| siblings(left, right)).count();
                across_pairs += next.iter().filter(|&&right| left != right).count();
            }
        }
    }
    let (inside, across) = (inside as f64 / inside_pairs as f64, across as f64 / across_pairs as f64);
    assert!(inside > 1.3 * across, "siblings: {inside:.4} of pairs in a basket, {across:.4} across baskets");
}

#[test]
fn the_year_has_seasons() {
    let mut by_month: BTreeMap<(i32, u32), usize> = BTreeMap::new();
    let mut christmas: BTreeMap<(i32, u32), usize> = BTreeMap::new();
    let mut saturdays = 0;
    for line in SMALL.lines() {
        let when = Timestamp::from_seconds(line.timestamp_s);
        saturdays += usize::from(when.day_of_week() == 6);
        let month = when.year_month().unwrap();
        *by_month.entry(month).or_default() += 1;
        let item = SMALL.truth().item_index(&line.code).map(|index| &SMALL.truth().items()[index]);
        *christmas.entry(month).or_default() += usize::from(item.is_some_and(|item| item.category == "christmas"));
    }
    assert_eq!(saturdays, 0, "closed on Saturdays");
    assert!(by_month[&(2011, 11)] as f64 > 1.5 * by_month[&(2011, 5)] as f64, "{by_month:?}");
    let share = |month| christmas[&month] as f64 / by_month[&month] as f64;
    assert!(share((2011, 11)) > 2.5 * share((2011, 5)), "November {} May {}", share((2011, 11)), share((2011, 5)));
}

/// Popularity forgets: what sold in one month is closer to what sells in the next than to what sells ten months on. Only
/// items without a season, on sale throughout, so that nothing but drift can move them.
#[test]
fn popularity_drifts() {
    let steady = ["kitchen", "tea", "bags", "home", "storage"];
    let (first, last) = (at("2010-10-01"), at("2011-12-09"));
    let items: Vec<usize> = (0..SMALL.truth().items().len())
        .filter(|&index| {
            let item = &SMALL.truth().items()[index];
            steady.contains(&item.category) && item.on_sale(first - Period::days(200)) && item.on_sale(last)
        })
        .collect();
    let mut counts: BTreeMap<(i32, u32), HashMap<usize, f64>> = BTreeMap::new();
    for line in SMALL.lines().iter().filter(|line| line.quantity > 0) {
        if let Some(item) = SMALL.truth().item_index(&line.code) {
            let month = Timestamp::from_seconds(line.timestamp_s).year_month().unwrap();
            *counts.entry(month).or_default().entry(item).or_default() += 1.0;
        }
    }
    let months: Vec<Vec<f64>> = counts
        .values()
        .map(|month| items.iter().map(|item| (month.get(item).copied().unwrap_or(0.0) + 1.0).ln()).collect())
        .collect();
    let mean_correlation = |apart: usize| {
        let pairs = months.len() - 1 - apart;
        (0..pairs).map(|month| correlation(&months[month], &months[month + apart])).sum::<f64>() / pairs as f64
    };
    let (next, later) = (mean_correlation(1), mean_correlation(10));
    println!("{} items: correlation with the next month {next:.3}, ten months on {later:.3}", items.len());
    assert!(next > later + 0.15, "{} items: next month {next:.3}, ten months on {later:.3}", items.len());
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let product = |f: fn(f64, f64) -> f64| a.iter().zip(b).map(|(x, y)| f(x - mean_a, y - mean_b)).sum::<f64>();
    product(|x, y| x * y) / (product(|x, _| x * x) * product(|_, y| y * y)).sqrt()
}

#[test]
fn prices_change_and_lines_follow() {
    let changed = SMALL.truth().items().iter().filter(|item| !item.price_changes.is_empty()).count();
    assert!(changed * 2 > SMALL.truth().items().len(), "{changed} items change their price");
    let mut seen = 0;
    for line in SMALL.lines().iter().filter(|line| line.quantity > 0 && line.quantity < 48 && line.price > 0.0) {
        let Some(index) = SMALL.truth().item_index(&line.code) else { continue };
        let expected = SMALL.truth().items()[index].price_at(Timestamp::from_seconds(line.timestamp_s));
        // Half a penny of rounding, a penny at least.
        assert!((f64::from(line.price) - expected).abs() < 0.0101, "{line:?}, expected {expected}");
        seen += 1;
    }
    assert!(seen > 10_000);
}

/// The lines obey the stated law: among exploring lines of many users, the mean probability that the truth gave to a
/// set of items equals the share that was drawn from it.
#[test]
fn the_truth_is_calibrated() {
    let spec = ShopSpec { users: 400, items: 200, months: 6, return_share: 0.0, ..ShopSpec::small() };
    let shop = Shop::generate(&spec);
    let (from, until) = (at("2011-06-01"), at("2011-12-01"));
    let truth = shop.truth();
    // First lines of first baskets explore, and nothing was merged yet.
    let mut first: BTreeMap<i32, &Line> = BTreeMap::new();
    for line in shop.lines().iter().filter(|line| line.quantity > 0) {
        if let (Some(user), Some(_)) = (line.user_id, truth.item_index(&line.code)) {
            first.entry(user).or_insert(line);
        }
    }
    assert!(first.len() > 200);
    let (mut expected, mut variance, mut drawn) = (0.0, 0.0, 0.0);
    for (user, line) in first {
        let day = Timestamp::from_seconds(line.timestamp_s - line.timestamp_s.rem_euclid(86_400));
        let choice = truth.choice(user, day, day + Period::days(1)).unwrap();
        assert!((choice.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        // The user's own twenty likeliest items.
        let mut order: Vec<usize> = (0..choice.len()).collect();
        order.sort_by(|&a, &b| choice[b].total_cmp(&choice[a]));
        let mass: f64 = order[..20].iter().map(|&item| choice[item]).sum();
        expected += mass;
        variance += mass * (1.0 - mass);
        drawn += f64::from(u8::from(order[..20].contains(&truth.item_index(&line.code).unwrap())));
    }
    let deviations = (drawn - expected) / variance.sqrt();
    assert!(deviations.abs() < 3.0, "{drawn} of an expected {expected:.1}: {deviations:.2} standard deviations");
    assert!(truth.choice(1, from, until).is_none(), "no such user");
    assert!(truth.choice(12_346, until, until).is_none(), "an empty span");
}

/// What a model can gain: the oracle is far above popularity, and plain item-to-item counting already finds a good part.
#[test]
fn taste_is_worth_learning_and_can_be_learned() {
    let (from, until) = (at("2011-10-01"), at("2011-11-01"));
    let cut = Cut::new(&SMALL, from, until, 5);
    assert!(cut.users().len() > 100, "{} users", cut.users().len());
    let popularity = cut.popularity(Period::days(30));
    let popular = cut.ndcg(10, |_| popularity.clone());
    let oracle = cut.oracle_ndcg(&SMALL, until, 10);
    let neighbours = item_to_item(&cut, &popularity);
    let learned = cut.ndcg(10, neighbours);
    println!(
        "NDCG@10 of {} users: popularity {popular:.4}, item to item {learned:.4}, oracle {oracle:.4}",
        cut.users().len()
    );
    assert!(oracle > 1.8 * popular && oracle > popular + 0.05, "popularity {popular:.4}, oracle {oracle:.4}");
    assert!(learned > 1.1 * popular && learned < oracle, "popularity {popular:.4}, {learned:.4}, oracle {oracle:.4}");
}

/// Scores by the cosine of items' buyers, times the root of recent popularity.
fn item_to_item<'a>(cut: &Cut, popularity: &'a [f64]) -> impl FnMut(&CutUser) -> Vec<f64> + use<'a> {
    let mut baskets: BTreeMap<i32, BTreeSet<usize>> = BTreeMap::new();
    cut.known().iter().for_each(|(user, item, _)| {
        baskets.entry(*user).or_default().insert(*item);
    });
    let count = popularity.len();
    let mut together = vec![vec![0.0; count]; count];
    for basket in baskets.values() {
        for &a in basket {
            basket.iter().for_each(|&b| together[a][b] += 1.0);
        }
    }
    let buyers: Vec<f64> = (0..count).map(|item| f64::max(together[item][item], 1.0)).collect();
    move |user| {
        (0..count)
            .map(|item| {
                let near: f64 =
                    user.owned.iter().map(|&owned| together[item][owned] / (buyers[item] * buyers[owned]).sqrt()).sum();
                near * (popularity[item] + 0.1).sqrt()
            })
            .collect()
    }
}

#[test]
fn demo_is_the_size_of_the_promise() {
    let shop = Shop::generate(&ShopSpec::demo());
    assert!((220_000..300_000).contains(&shop.lines().len()), "{} lines", shop.lines().len());
    let cut = Cut::new(&shop, at("2011-10-01"), at("2011-11-01"), 5);
    let popularity = cut.popularity(Period::days(30));
    let popular = cut.ndcg(10, |_| popularity.clone());
    let oracle = cut.oracle_ndcg(&shop, at("2011-11-01"), 10);
    println!("NDCG@10 of {} users: popularity {popular:.4}, oracle {oracle:.4}", cut.users().len());
    assert!(cut.users().len() > 400, "{} users", cut.users().len());
    assert!(oracle > 1.8 * popular, "popularity {popular:.4}, oracle {oracle:.4}");
}
