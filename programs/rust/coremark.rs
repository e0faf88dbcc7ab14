//! CoreMark: lists, matrices, a state machine and checksums. Prints what does not depend on time.

fn main() {
    let iterations = std::env::args().nth(1).map_or(20, |arg| arg.parse().expect("number of iterations"));
    let results = coremark::run(&coremark::Config { iterations, ..Default::default() });
    println!(
        "seed {:04x} list {:04x} matrix {:04x} state {:04x} final {:04x}",
        results.seedcrc, results.crclist, results.crcmatrix, results.crcstate, results.crcfinal
    );
}
