//! Products: families of one design within a category.

use paceline_core::random::{Random, stream};
use paceline_core::{Period, Timestamp};
use rand::RngExt;

use super::ShopSpec;
use super::calendar::Calendar;
use crate::sampling::{normal, pick};

/// Length of a style vector.
pub(super) const STYLE: usize = 8;

/// A point in the space of tastes.
pub(super) type Style = [f64; STYLE];

/// When a category sells best.
#[derive(Debug, Clone, Copy)]
enum Season {
    None,
    /// A bell over the year: peak month (1 to 12, fractions allowed), width in months, height in log weight.
    Peak(f64, f64, f64),
}

struct Category {
    name: &'static str,
    products: [&'static str; 4],
    /// Median price in pounds.
    price: f64,
    season: Season,
}

const CATEGORIES: [Category; 12] = [
    Category {
        name: "kitchen",
        products: ["CAKE TIN", "MIXING BOWL", "TEA TOWEL", "OVEN GLOVE"],
        price: 3.2,
        season: Season::None,
    },
    Category {
        name: "tea",
        products: ["TEA POT", "MUG", "CUP AND SAUCER", "MILK JUG"],
        price: 2.6,
        season: Season::None,
    },
    Category {
        name: "bags",
        products: ["SHOPPER BAG", "LUNCH BAG", "JUMBO BAG", "PENCIL POUCH"],
        price: 1.8,
        season: Season::None,
    },
    Category {
        name: "stationery",
        products: ["NOTEBOOK", "GIFT WRAP", "CARD SET", "STICKER SHEET"],
        price: 0.8,
        season: Season::Peak(9.0, 1.2, 0.7),
    },
    Category {
        name: "candles",
        products: ["T-LIGHT HOLDER", "LANTERN", "CANDLE", "CANDLESTICK"],
        price: 1.9,
        season: Season::Peak(10.8, 1.5, 0.8),
    },
    Category {
        name: "christmas",
        products: ["TREE BAUBLE", "ADVENT GARLAND", "STOCKING", "WREATH"],
        price: 1.7,
        season: Season::Peak(10.9, 1.0, 2.2),
    },
    Category {
        name: "garden",
        products: ["PLANT POT", "WATERING CAN", "BIRD FEEDER", "PARASOL"],
        price: 4.1,
        season: Season::Peak(5.5, 1.5, 1.6),
    },
    Category {
        name: "party",
        products: ["BUNTING", "PAPER PLATES", "BALLOON SET", "PARTY CONES"],
        price: 1.5,
        season: Season::Peak(6.5, 1.8, 0.8),
    },
    Category {
        name: "children",
        products: ["SPINNING TOP", "DOLL", "SKIPPING ROPE", "BUILDING BLOCKS"],
        price: 2.1,
        season: Season::Peak(11.0, 1.3, 1.0),
    },
    Category {
        name: "home",
        products: ["CUSHION COVER", "DOORMAT", "PHOTO FRAME", "WALL CLOCK"],
        price: 5.6,
        season: Season::None,
    },
    Category {
        name: "jewellery",
        products: ["NECKLACE", "BRACELET", "HAIR CLIP", "BROOCH"],
        price: 2.4,
        season: Season::Peak(2.0, 0.8, 1.2),
    },
    Category {
        name: "storage",
        products: ["DRAWER KNOB", "WICKER BASKET", "TRINKET BOX", "COAT HOOK"],
        price: 3.6,
        season: Season::None,
    },
];

/// Number of categories.
pub(super) const CATEGORY_COUNT: usize = CATEGORIES.len();

const DESIGNS: [&str; 20] = [
    "ROSE GARDEN",
    "BLUE HARBOUR",
    "OAK LEAF",
    "SPOTTED",
    "STRIPED",
    "GINGHAM",
    "WOODLAND FOX",
    "PARIS CAFE",
    "VINTAGE MAP",
    "SWALLOW",
    "STRAWBERRY",
    "MOONLIGHT",
    "COPPER",
    "IVORY LACE",
    "POPPY FIELD",
    "SEASHELL",
    "TARTAN",
    "LAVENDER",
    "CIRCUS",
    "BUTTERFLY",
];
const COLORS: [&str; 8] = ["RED", "GREEN", "PINK", "CREAM", "NAVY", "YELLOW", "SILVER", "TURQUOISE"];

/// One product.
#[derive(Debug, Clone)]
pub struct Item {
    /// Stock code: five digits, with a letter where a family shares its number.
    pub code: String,
    /// What the invoice says.
    pub description: String,
    /// Name of the category.
    pub category: &'static str,
    /// Items of one family share design, category and much of their style.
    pub family: usize,
    /// Price in pounds at the launch.
    pub list_price: f64,
    /// Standing popularity, a log weight.
    pub quality: f64,
    /// First day on sale; may lie before the table.
    pub launched: Timestamp,
    /// First day no longer on sale.
    pub withdrawn: Option<Timestamp>,
    /// From when on which factor applies to `list_price`, in order of time.
    pub price_changes: Vec<(Timestamp, f64)>,
    pub(super) style: Style,
    season: Season,
}

impl Item {
    /// Whether it can be bought at `at`.
    #[must_use]
    pub fn on_sale(&self, at: Timestamp) -> bool {
        self.launched <= at && self.withdrawn.is_none_or(|end| at < end)
    }

    /// Price in pounds at `at`, before discounts for quantity.
    #[must_use]
    pub fn price_at(&self, at: Timestamp) -> f64 {
        self.list_price * self.price_factor_at(at)
    }

    pub(super) fn price_factor_at(&self, at: Timestamp) -> f64 {
        self.price_changes.iter().rev().find(|(from, _)| *from <= at).map_or(1.0, |(_, factor)| *factor)
    }

    /// Log weight of the season at a point of the year, `month` from 1.0 (1 January) to below 13.0.
    pub(super) fn season(&self, month: f64) -> f64 {
        match self.season {
            Season::None => 0.0,
            Season::Peak(peak, width, height) => {
                let away = (month - peak).rem_euclid(12.0);
                let away = away.min(12.0 - away);
                height * (-0.5 * (away / width).powi(2)).exp() - 0.25 * height
            }
        }
    }
}

/// Draws families until there are `spec.items` products.
pub(super) fn draw_items(spec: &ShopSpec, calendar: &Calendar) -> Vec<Item> {
    let mut random = stream(spec.seed, "shop catalogue");
    let category_styles: Vec<Style> = (0..CATEGORY_COUNT).map(|_| draw_style(&mut random)).collect();
    let mut items = Vec::with_capacity(spec.items);
    let mut family = 0;
    // Two steps of at most seven stay within five digits for more than 10,000 families.
    let mut number = 20_000;
    while items.len() < spec.items {
        number += random.random_range(1..=7);
        let size = pick(&[0.35, 0.2, 0.2, 0.15, 0.1], &mut random) + 1;
        let size = size.min(spec.items - items.len());
        draw_family(family, number, size, &category_styles, calendar, &mut random, &mut items);
        family += 1;
    }
    items
}

fn draw_family(
    family: usize,
    number: u32,
    size: usize,
    category_styles: &[Style],
    calendar: &Calendar,
    random: &mut Random,
    items: &mut Vec<Item>,
) {
    let category_index = random.random_range(0..CATEGORY_COUNT);
    let category = &CATEGORIES[category_index];
    let own = draw_style(random);
    let style: Style = std::array::from_fn(|d| 0.65 * category_styles[category_index][d] + 0.75 * own[d]);
    let design = DESIGNS[random.random_range(0..DESIGNS.len())];
    let product = category.products[random.random_range(0..category.products.len())];
    let price = category.price * (0.45 * normal(random)).exp();
    let quality = 0.5 * normal(random);
    let (launched, withdrawn) = draw_life(calendar, random);
    for member in 0..size {
        let color = COLORS[(family + member) % COLORS.len()];
        let letter = if size > 1 { char::from(b'A' + member as u8).to_string() } else { String::new() };
        items.push(Item {
            code: format!("{number:05}{letter}"),
            description: if size > 1 { format!("{color} {design} {product}") } else { format!("{design} {product}") },
            category: category.name,
            family,
            list_price: round_pence((price * (0.1 * normal(random)).exp()).clamp(0.12, 80.0)),
            quality: quality + 0.8 * normal(random),
            launched,
            withdrawn,
            price_changes: draw_price_changes(calendar, random),
            style: std::array::from_fn(|d| style[d] + 0.25 * normal(random)),
            season: category.season,
        });
    }
}

/// Most families are there from the start, a third are launched on the way, some of all are withdrawn.
/// Everything about an item changes at the start of a week of the calendar, so the law of a week is exact.
fn draw_life(calendar: &Calendar, random: &mut Random) -> (Timestamp, Option<Timestamp>) {
    let weeks = calendar.week_count() as i64;
    let launch_week = if random.random_bool(0.65) { -60 } else { random.random_range(0..weeks) };
    let withdrawn = random.random_bool(0.2).then(|| launch_week.max(0) + random.random_range(13..13 + weeks));
    (calendar.midnight(7 * launch_week), withdrawn.map(|week| calendar.midnight(7 * week)))
}

/// A new price about every eight months, mostly upwards, at the start of a week.
fn draw_price_changes(calendar: &Calendar, random: &mut Random) -> Vec<(Timestamp, f64)> {
    let mut changes = Vec::new();
    let mut factor = 1.0;
    let mut at = calendar.midnight(0) + Period::days(7 * random.random_range(4..60));
    while at < calendar.midnight(calendar.day_count() as i64) {
        factor *= (0.04 + 0.12 * normal(random)).exp();
        changes.push((at, factor));
        at = at + Period::days(7 * random.random_range(17..52));
    }
    changes
}

pub(super) fn draw_style(random: &mut Random) -> Style {
    std::array::from_fn(|_| normal(random))
}

/// To whole pence, at least one.
pub(super) fn round_pence(pounds: f64) -> f64 {
    (pounds * 100.0).round().max(1.0) / 100.0
}
