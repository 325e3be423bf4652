//! The same work for many things, on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

/// `work(state, 0), work(state, 1), ...` up to `count` on at most `threads` threads (at least one), results in order.
/// Each thread begins with a state of its own, such as buffers; which thread does what must not matter to `work`.
pub fn map<S: Default, T: Send>(count: usize, threads: usize, work: impl Fn(&mut S, usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let some = || {
        let (mut state, mut done) = (S::default(), Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return done;
            }
            done.push((number, work(&mut state, number)));
        }
    };
    let mut all: Vec<(usize, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.clamp(1, count.max(1))).map(|_| scope.spawn(some)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    all.sort_unstable_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        for (count, threads) in [(0, 2), (1, 0), (7, 3), (100, 200)] {
            let squares = map(count, threads, |seen: &mut usize, number| {
                *seen += 1;
                (number * number, *seen)
            });
            assert!(squares.iter().map(|(square, _)| *square).eq((0..count).map(|number| number * number)));
            let kept = squares.iter().all(|(_, seen)| (1..=count).contains(seen));
            assert!(kept, "a state is that of one thread and lives as long as it");
        }
    }
}
