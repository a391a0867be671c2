//! Both ends fed with damaged recordings: they end, they don't panic, and they keep little.
//!
//! `MUSTER_FUZZ_SECONDS` and `MUSTER_FUZZ_SEED` change how long and where it begins.
#![allow(unsafe_code, reason = "the trait of an allocator is unsafe")]

mod protocol;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::env;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use fastrand::Rng;
use muster::domain::{StoreDir, Trust};
use muster::nix::handshake::{Offer, Version};
use muster::nix::logs::DaemonError;
use muster::nix::nar;
use muster::nix::ops::{Op, Request};
use muster::nix::server::Server;
use protocol::{Session, VERSIONS, hook_sessions, recorded, sessions, speak};

/// No input of a few kilobytes may make an end hold more.
const PEAK: usize = 4 << 20;

/// Counts what is held, and the most that was held.
struct Counting {
    held: AtomicUsize,
    peak: AtomicUsize,
}

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = self.held.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        self.peak.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.held.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting { held: AtomicUsize::new(0), peak: AtomicUsize::new(0) };

/// Runs a future that never has to wait, since its input is all here. One that waits all the same would hang.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits for more than there is"),
    }
}

/// Serves whatever comes, as far as it makes sense. Says which operations came.
async fn serve(bytes: &[u8]) -> BTreeSet<Op> {
    let mut ops = BTreeSet::new();
    let offer = Offer { version: Version::OURS, daemon_version: "2.34.8".to_owned(), trust: Trust::Trusted };
    let Ok(mut server) = Server::handshake(bytes, tokio::io::sink(), StoreDir::default(), &offer).await
    else {
        return ops;
    };
    while let Ok(Some(request)) = server.next_request().await {
        let Some(op) = request.op() else { break };
        ops.insert(op);
        assert_eq!(Request::decode(&request.encode(server.dialect()), server.dialect()).ok(), Some(request));
        if op == Op::AddMultipleToStore && unpack(&mut server).await.is_none() {
            break;
        }
        if server.error(&DaemonError::new("no")).await.is_err() {
            break;
        }
    }
    ops
}

async fn unpack(server: &mut Server<&[u8], tokio::io::Sink>) -> Option<()> {
    let mut items = server.requests.items().await.ok()?;
    while items.next().await.ok()?.is_some() {
        nar::copy(items.nar(), &mut tokio::io::sink(), 1 << 20).await.ok()?;
    }
    Some(())
}

/// One end and what it is fed with.
enum Seed {
    Server(Vec<u8>),
    Client(usize, Vec<u8>),
}

impl Seed {
    fn bytes(&self) -> &[u8] {
        match self {
            Seed::Server(bytes) | Seed::Client(_, bytes) => bytes,
        }
    }

    fn feed(&self, scripts: &[Session], bytes: &[u8]) {
        match self {
            Seed::Server(_) => drop(at_once(serve(bytes))),
            Seed::Client(script, _) => {
                drop(at_once(speak(bytes, tokio::io::sink(), &scripts[*script])));
            }
        }
    }
}

fn corpus(scripts: &[Session]) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for version in VERSIONS {
        for (n, script) in scripts.iter().enumerate() {
            seeds.push(Seed::Server(recorded(version, script.name, "client")));
            seeds.push(Seed::Client(n, recorded(version, script.name, "server")));
        }
        for hook in hook_sessions(version) {
            seeds.push(Seed::Server(recorded(version, &hook, "client")));
        }
    }
    seeds
}

/// Numbers that mean something, or too much.
const WORDS: [u64; 12] = [
    0,
    1,
    7,
    4097,
    1 << 20,
    (1 << 20) + 1,
    1 << 32,
    u64::MAX,
    u64::MAX - 7,
    0x6378_7470,
    0x616c_7473,
    0x5253_4c54,
];

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.usize(1..=4) {
        let at = rng.usize(0..=bytes.len());
        let word = at / 8 * 8;
        match rng.u8(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(0..8),
            1 => bytes.truncate(at),
            2 => drop(bytes.splice(at..at, (0..rng.usize(1..24)).map(|_| rng.u8(..)))),
            3 if word + 8 <= bytes.len() => {
                bytes[word..word + 8].copy_from_slice(&rng.choice(WORDS).unwrap_or(0).to_le_bytes());
            }
            4 => drop(bytes.splice(word.min(bytes.len())..at, [])),
            5 => {
                let from = rng.usize(0..=other.len()) / 8 * 8;
                let piece = &other[from..other.len().min(from + rng.usize(0..256))];
                drop(bytes.splice(word..word, piece.iter().copied()));
            }
            6 => {
                let code = rng.choice(Op::ALL).map_or(0, |op| op.code());
                drop(bytes.splice(word..word, code.to_le_bytes()));
            }
            _ => {}
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// One test, so that nobody else allocates meanwhile.
#[test]
fn damaged_sessions_end_without_panic_and_in_little_memory() {
    let scripts = sessions();
    let seeds = corpus(&scripts);
    every_operation_is_reached(&seeds);
    let seed = setting("MUSTER_FUZZ_SEED", 3);
    let until = Instant::now() + Duration::from_secs(setting("MUSTER_FUZZ_SECONDS", 5));
    let mut rng = Rng::with_seed(seed);
    let mut round = 0u64;
    while Instant::now() < until {
        round += 1;
        let (seed_at, other) = (rng.usize(0..seeds.len()), rng.usize(0..seeds.len()));
        let mut bytes = seeds[seed_at].bytes().to_vec();
        mutate(&mut rng, &mut bytes, seeds[other].bytes());
        let before = ALLOCATOR.held.load(Ordering::Relaxed);
        ALLOCATOR.peak.store(before, Ordering::Relaxed);
        let fed = catch_unwind(AssertUnwindSafe(|| seeds[seed_at].feed(&scripts, &bytes)));
        let peak = ALLOCATOR.peak.load(Ordering::Relaxed) - before;
        let input = || format!("seed {seed}, round {round}: {}", bytes.escape_ascii());
        assert!(fed.is_ok(), "panic at {}", input());
        assert!(peak < PEAK, "{peak} bytes held at {}", input());
    }
    eprintln!("{round} damaged sessions");
}

fn every_operation_is_reached(seeds: &[Seed]) {
    let mut reached = BTreeSet::new();
    for seed in seeds {
        if let Seed::Server(bytes) = seed {
            reached.extend(at_once(serve(bytes)));
        }
    }
    let all: BTreeSet<_> = Op::ALL.iter().copied().collect();
    assert_eq!(reached, all);
}
