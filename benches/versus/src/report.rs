//! The table, and the machine it comes from.

use std::{fs, process::Command, thread};

use crate::measure::{ROUNDS, Row};

/// Says where the figures come from.
pub fn machine() {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    println!(
        "{cores} cores,{}; {}; load of the minute before: {load}",
        model.trim_start_matches(['\t', ':']),
        rustc.unwrap_or_default()
    );
    println!(
        "Medians of {ROUNDS} rounds in which the systems take turns. Every row's answers were checked in every"
    );
    println!(
        "round: how many results each subscription got, and their bytes (rows of `register`: that each listens).\n"
    );
}

/// The table's head.
pub fn head() {
    println!(
        "Clock time from the first event to the last result being readable; cpu: processor time of all threads"
    );
    println!(
        "meanwhile; + reading: reading it and writing the messages, where that is not in the time before.\n"
    );
    println!(
        "{:<29} {:<15} {:>9} {:>11} {:>11} {:>6} {:>9} {:>8} {:>6} {:>12}",
        "workload",
        "system",
        "in flight",
        "ns/event",
        "ns/delivery",
        "cpu",
        "+ reading",
        "x coulis",
        "x cpu",
        "x with read."
    );
    println!("{}", "-".repeat(125));
}

/// The rows of workloads; Coulis' row comes first in each and is what the others are compared with: its publishing
/// side on the clock, by processor time, and on the clock with reading and writing the messages.
pub fn rows(rows: &[Row]) {
    for workload in rows.chunk_by(|one, other| one.workload == other.workload) {
        let ours = &workload[0];
        for row in workload {
            let whole =
                |row: &Row| row.per_delivery.map(|publishing| publishing + row.reading.unwrap_or_default());
            let with_reading = ours.reading.and_then(|_| Some(whole(row)? / whole(ours)?));
            let processor = row.processor.and_then(|theirs| Some(theirs / ours.processor?));
            println!(
                "{:<29} {:<15} {:>9} {:>11} {:>11} {:>6} {:>9} {:>8} {:>6} {:>12}",
                row.workload,
                row.system,
                if row.in_flight == 0 { "-".into() } else { row.in_flight.to_string() },
                figure(Some(row.per_event)),
                figure(row.per_delivery),
                figure(row.processor),
                figure(row.reading),
                figure(Some(row.per_event / ours.per_event)),
                figure(processor),
                figure(with_reading),
            );
        }
        println!();
    }
}

/// Three digits that matter.
fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value >= 100.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) if value >= 0.1 => format!("{value:.2}"),
        Some(value) => format!("{value:.4}"),
    }
}
