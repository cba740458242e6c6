//! Which differences between the codecs there are: over the seeds, over the corpus that `fuzz/run codec_diff` has grown, if
//! there is one, and over inputs by chance.
#![cfg(feature = "codecs")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use banyan_fuzz::codec_diff::differences::DIFFERENCES;
use banyan_fuzz::codec_diff::{LIBRARIES, Library, Outcome, outcomes};
use banyan_fuzz::seeds;

/// Packets by library and what was seen.
#[derive(Default)]
struct Table(BTreeMap<(String, Library), usize>);

impl Table {
    fn add(&mut self, input: &[u8]) {
        for (library, outcome) in outcomes(input) {
            let row = match outcome {
                Outcome::Same => "both accept, the same is read".to_owned(),
                Outcome::BothRefuse => "both refuse".to_owned(),
                Outcome::Explained(difference) => difference.about.to_owned(),
            };
            *self.0.entry((row, library)).or_default() += 1;
        }
    }

    fn print_row(&self, row: &str, refuses: &str, statement: &str) {
        let count = |library| self.0.get(&(row.to_owned(), library)).copied().unwrap_or_default();
        let counts = LIBRARIES.map(count);
        println!("| {row} | {refuses} | {} | {} | {statement} |", counts[0], counts[1]);
    }
}

/// Every rule is of use: a rule that nothing needs could hide a fault of ours. Prints the table of `README.md`, with counts.
#[test]
fn every_difference_is_explained() {
    let mut table = Table::default();
    let mut inputs = seeds::of("codec_diff");
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/codec_diff");
    for file in fs::read_dir(corpus).into_iter().flatten() {
        inputs.push(fs::read(file.unwrap().path()).unwrap());
    }
    // PUBLISH with more user properties, and a longer one, than a record takes.
    let publish = |length: &[u8], properties: &[u8]| [&[0, 0x30, 0, 1, b'a'], length, properties].concat();
    inputs.push(publish(&[0xE7, 1], &b"\x26\0\x01k\0\x01v".repeat(33)));
    let long = [&b"\x26\0\x01k\x40\0"[..], &[b'x'; 0x4000]].concat();
    inputs.push(publish(&[0x86, 0x80, 1], &long));
    inputs.iter().for_each(|input| table.add(input));
    let mut random = Random(0x1234_5678_9ABC_DEF0);
    for _ in 0..200_000 {
        // Built packets: the others are mostly refused by all.
        let mut input: Vec<u8> = (0..96).map(|_| random.byte()).collect();
        input[0] |= banyan_fuzz::codec_diff::frames::BUILT;
        table.add(&input);
    }

    println!("| packet | refused by | mqtt-protocol-core | rmqtt-codec | statement |");
    println!("|---|---|---|---|---|");
    table.print_row("both accept, the same is read", "", "");
    table.print_row("both refuse", "", "");
    let mut unused = Vec::new();
    for difference in DIFFERENCES {
        table.print_row(difference.about, difference.who_refuses(), difference.statement);
        let is_used = |library| table.0.contains_key(&(difference.about.to_owned(), library));
        if !LIBRARIES.into_iter().any(is_used) {
            unused.push(difference.about);
        }
    }
    assert_eq!(unused, [""; 0], "rules that no input needs");
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
    }
}
