//! DataFusion's memory pools on the sequences of tests/bench/reserve: `try_grow` and `shrink` of
//! 4 KiB, and of mixed sizes. Called with the row's id and perhaps `--quick`; prints a line per
//! figure, as README.md of the benches says.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use datafusion_execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation,
    TrackConsumersPool,
};

const POOL_BYTES: usize = 1 << 30;
const GROW_BYTES: usize = 4096;
const TOP: NonZeroUsize = NonZeroUsize::new(5).unwrap();

fn greedy() -> Arc<dyn MemoryPool> {
    Arc::new(GreedyMemoryPool::new(POOL_BYTES))
}

fn tracked() -> Arc<dyn MemoryPool> {
    Arc::new(TrackConsumersPool::new(GreedyMemoryPool::new(POOL_BYTES), TOP))
}

fn fair() -> Arc<dyn MemoryPool> {
    Arc::new(FairSpillPool::new(POOL_BYTES))
}

fn reserve(pool: &Arc<dyn MemoryPool>, name: &str) -> MemoryReservation {
    MemoryConsumer::new(name).with_can_spill(true).register(pool)
}

type Work = fn(&MemoryReservation, u64);

fn uniform(reservation: &MemoryReservation, pairs: u64) {
    for _ in 0..pairs {
        black_box(reservation.try_grow(black_box(GROW_BYTES))).expect("the pool is far from full");
        reservation.shrink(black_box(GROW_BYTES));
    }
}

const MIXED: usize = 1024;
const MIXED_HELD: usize = 8;

/// Sizes of 64 B to 256 KiB, as in reserve.cc.
fn mixed_sizes() -> [usize; MIXED] {
    let mut state: u64 = 1;
    std::array::from_fn(|_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        64 << ((state >> 33) % 13)
    })
}

/// Grows by one size after the other and shrinks by the one that is eight back.
fn mixed(reservation: &MemoryReservation, pairs: u64) {
    let sizes = mixed_sizes();
    let mut held = 0;
    for i in 0..pairs as usize {
        let grown = black_box(sizes[i % MIXED]);
        black_box(reservation.try_grow(grown)).expect("the pool is far from full");
        held += grown;
        if i >= MIXED_HELD {
            let shrunk = black_box(sizes[(i - MIXED_HELD) % MIXED]);
            reservation.shrink(shrunk);
            held -= shrunk;
        }
    }
    reservation.shrink(held);
}

/// Wall nanoseconds per pair of each thread.
fn time(reservations: Vec<Arc<MemoryReservation>>, work: Work, pairs: u64) -> f64 {
    let start = Arc::new(Barrier::new(reservations.len() + 1));
    let threads: Vec<_> = reservations
        .into_iter()
        .map(|reservation| {
            let start = Arc::clone(&start);
            thread::spawn(move || {
                work(&reservation, pairs / 10); // warms up
                start.wait();
                let begin = Instant::now();
                work(&reservation, pairs);
                begin.elapsed().as_nanos() as f64 / pairs as f64
            })
        })
        .collect();
    start.wait();
    let times: Vec<f64> = threads.into_iter().map(|t| t.join().expect("no panic")).collect();
    times.iter().sum::<f64>() / times.len() as f64
}

fn print(id: &str, case: &str, peer: &str, nanoseconds: f64) {
    println!("{id}\t{case}\tns\tpeer:{peer}\t{nanoseconds:.2}");
}

type MakePool = fn() -> Arc<dyn MemoryPool>;
const POOLS: [(&str, &str, MakePool); 3] = [
    ("plain", "GreedyMemoryPool", greedy),
    ("tracked", "TrackConsumersPool", tracked),
    ("fair_spill", "FairSpillPool", fair),
];

fn one_thread(pairs: u64) {
    for (case, peer, pool) in POOLS {
        let one = Arc::new(reserve(&pool(), "one"));
        print("reserve_1t", case, peer, time(vec![Arc::clone(&one)], uniform, pairs));
        print("reserve_1t", &format!("{case}, mixed"), peer, time(vec![one], mixed, pairs));
    }
}

fn two_threads(pairs: u64) {
    for (case, peer, make) in POOLS {
        let pool = make();
        let each = ["one", "two"].map(|name| Arc::new(reserve(&pool, name)));
        let case = format!("{case}, a consumer each");
        print("reserve_2t", &case, peer, time(each.to_vec(), uniform, pairs));
        print("reserve_2t", &format!("{case}, mixed"), peer, time(each.to_vec(), mixed, pairs));
    }
    let pool = greedy();
    let one = reserve(&pool, "one");
    let two = Arc::new(one.new_empty());
    let both = vec![Arc::new(one), two];
    print("reserve_2t", "plain, one consumer", "GreedyMemoryPool", time(both, uniform, pairs));
    let shared = Arc::new(reserve(&pool, "shared"));
    let both = vec![Arc::clone(&shared), shared];
    print("reserve_2t", "plain, one reservation", "GreedyMemoryPool", time(both, uniform, pairs));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let pairs = if quick { 500_000 } else { 10_000_000 };
    match arguments.first().map(String::as_str) {
        Some("reserve_1t") => one_thread(pairs),
        Some("reserve_2t") => two_threads(pairs),
        _ => {
            eprintln!("usage: datafusion_peer reserve_1t|reserve_2t [--quick]");
            std::process::exit(2);
        }
    }
}
