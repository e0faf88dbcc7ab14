//! Assertions about modules which must not run.

use crate::link::{Interface, LinkError, Links, Sizes};
use crate::report::{Category, Report};
use crate::script::{Action, Module, Rejection, Script};
use gate_compiler::{ErrorKind, Options, WasiImports};

/// Checks all assertions of a script about modules which must not run.
pub(crate) fn check(script: &Script, links: &Links, options: &Options) -> Report {
    let mut report = Report::default();
    for (line, what) in &script.excluded {
        report.exclude(format_args!("{}:{line}", script.name), what);
    }
    for (line, why) in &script.nonsense {
        report.record(&script.name, *line, Category::Action, Err(why.clone()));
    }
    for step in &script.steps {
        let (category, result) = match &step.action {
            Action::Reject { wasm, reason: Rejection::Malformed } => {
                (Category::Malformed, reject(wasm, options))
            }
            Action::Reject { wasm, reason: Rejection::Invalid } => (Category::Invalid, reject(wasm, options)),
            Action::RejectText => (Category::Text, Ok(())),
            Action::Unlinkable { module, message } => {
                (Category::Unlinkable, unlinkable(links, module, message, options))
            }
            Action::Instantiate { .. } | Action::Invoke { .. } | Action::Get { .. } => continue,
        };
        report.record(&script.name, step.line, category, result);
    }
    report
}

fn reject(wasm: &[u8], options: &Options) -> Result<(), String> {
    match gate_compiler::compile(wasm, options, &WasiImports) {
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(()),
        Err(error) => Err(format!("the compiler refuses it for another reason: {error}")),
        Ok(_) => Err("the compiler accepts it".into()),
    }
}

/// Modules with unknown imports must be refused by the linker of this harness, and by the compiler.
fn unlinkable(links: &Links, module: &Module, message: &str, options: &Options) -> Result<(), String> {
    let interface = Interface::parse(&module.wasm).map_err(|error| error.to_string())?;
    match links.resolve(&interface, module, Sizes::Declared) {
        Ok(_) => return Err("it can be linked".into()),
        Err(error @ (LinkError::Unknown | LinkError::Incompatible)) if error.message() != message => {
            return Err(format!("{} instead of {message}", error.message()));
        }
        Err(_) => {}
    }
    match gate_compiler::compile(&module.wasm, options, &WasiImports) {
        Err(error) if matches!(error.kind(), ErrorKind::Import | ErrorKind::Unsupported) => Ok(()),
        Err(error) => Err(format!("the compiler refuses it for another reason: {error}")),
        Ok(_) => Err("the compiler accepts it".into()),
    }
}
