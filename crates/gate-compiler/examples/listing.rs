//! Prints the compiled text of a module: `listing FILE`.

use gate_compiler::{Features, Options, WasiImports, compile, write_listing};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: listing FILE")?;
    let wasm = wat::parse_file(path)?;
    let features = Features { multi_memory: true, const_globals: true, ..Features::default() };
    let options = Options { features, ..Options::default() };
    let module = compile(&wasm, &options, &WasiImports)?;
    let mut text = String::new();
    write_listing(&module, &options, &mut text)?;
    print!("{text}");
    Ok(())
}
