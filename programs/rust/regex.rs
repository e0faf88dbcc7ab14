//! Counts, captures and replaces by regular expressions in standard input.

use regex::Regex;
use std::io::Read;

fn main() {
    let rounds = std::env::args().nth(1).map_or(1, |arg| arg.parse::<usize>().expect("number of rounds"));
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).expect("read standard input");
    let text = String::from_utf8_lossy(&bytes);
    let patterns = [
        r"(?i)\bthe\b",
        r"[A-Z][a-z]+ [A-Z][a-z]+",
        r"\b\w{12,}\b",
        r"(\d+)\.(\d+)",
        r"(?:a|e|i|o|u){3}",
        r"(?m)^\s*$",
        r"\p{Lu}{4,}",
    ];
    for round in 0..rounds {
        for pattern in patterns {
            let regex = Regex::new(pattern).expect("compile pattern");
            let count = regex.find_iter(&text).count();
            if round == 0 {
                println!("{:6} {}", count, pattern);
            }
        }
    }
    let swap = Regex::new(r"(?P<first>\w+)\s+(?P<second>\w+)").expect("compile pattern");
    let swapped = swap.replace_all(&text, "$second $first");
    println!("{} bytes swapped, hash {:08x}", swapped.len(), hash(swapped.as_bytes()));
    println!("{}", Regex::new("(unclosed").expect_err("invalid pattern"));
}

fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2166136261, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(16777619))
}
