//! The resources that this process and its node hold at one moment, to be compared with a later moment.

use std::alloc::System;
use std::fs;

use cap::Cap;

use crate::rabbit::Rabbit;

/// Counts what is allocated and not freed. Resident memory would not do, because an allocator keeps some of what was
/// freed, and the amount varies.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// By how much the heap may differ without counting as growth, in KiB: buffers hold more or less at different moments.
const SLACK: u64 = 1024;

/// How many more connections, files or threads are not growth: a connection may be replaced by another one at that
/// moment.
const FEW: u64 = 8;

/// The resources that are held.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    pub channels: u64,
    pub connections: u64,
    pub queues: u64,
    pub files: u64,
    pub threads: u64,
    /// Allocated and not freed, in KiB.
    pub heap: u64,
    /// Resident memory, in KiB. It is only printed.
    pub resident: u64,
}

impl Footprint {
    /// Measures this process and the node.
    pub fn now(node: &Rabbit) -> Self {
        let count = "{length(rabbit_channel:list()), length(rabbit_networking:connections()), \
                     length(rabbit_amqqueue:list())}.";
        let output = node.command("rabbitmqctl").args(["eval", count]).output().unwrap();
        let output = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let numbers: Vec<u64> =
            output.trim_matches(['{', '}']).split(',').map(|number| number.trim().parse().expect(&output)).collect();
        let entries = |folder: &str| u64::try_from(fs::read_dir(folder).unwrap().count()).unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        Self {
            channels: numbers[0],
            connections: numbers[1],
            queues: numbers[2],
            files: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            heap: u64::try_from(HEAP.allocated()).unwrap() / 1024,
            resident: resident.trim().trim_end_matches("kB").trim().parse().unwrap(),
        }
    }

    /// Prints both, and panics if anything has grown from `self`, which is older, to `later`.
    pub fn is_as_large_as(self, later: Self, what: &str) {
        if let Some(growth) = self.growth(later, what) {
            panic!("{growth}");
        }
    }

    /// Prints both, and returns what has grown from `self`, which is older, to `later`.
    pub fn growth(self, later: Self, what: &str) -> Option<String> {
        println!("{what}: {self:?}, then {later:?}");
        for (name, before, after, more) in [
            ("channels", self.channels, later.channels, FEW),
            ("connections", self.connections, later.connections, FEW),
            ("queues", self.queues, later.queues, 2),
            ("files", self.files, later.files, FEW),
            ("threads", self.threads, later.threads, FEW),
            ("heap", self.heap, later.heap, SLACK),
        ] {
            if after > before + more {
                return Some(format!("{what}: {name} grew from {before} to {after}"));
            }
        }
        None
    }
}
