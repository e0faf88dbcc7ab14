//! Panics with a message, if told to, or returns an error from `main`.

fn main() -> Result<(), String> {
    match std::env::args().nth(1).as_deref() {
        Some("panic") => panic!("as told"),
        Some(other) => Err(format!("unknown argument {:?}", other)),
        None => {
            println!("nothing to do");
            Ok(())
        }
    }
}
