//! Renders the Markdown document on standard input as HTML.

use pulldown_cmark::{html, Options, Parser};
use std::io::Read;

fn main() {
    let rounds = std::env::args().nth(1).map_or(1, |arg| arg.parse::<usize>().expect("number of rounds"));
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("read standard input");
    let mut output = String::new();
    for _ in 0..rounds {
        output.clear();
        html::push_html(&mut output, Parser::new_ext(&text, Options::all()));
    }
    print!("{}", output);
}
