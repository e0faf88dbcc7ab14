//! Makes Rust of the protocol, without a compiler of others.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "gate/service/v1/service.proto";
    println!("cargo::rerun-if-changed=proto/{file}");
    let files = protox::compile([file], ["proto"])?;
    tonic_prost_build::configure().bytes(".").emit_rerun_if_changed(false).compile_fds(files)?;
    Ok(())
}
