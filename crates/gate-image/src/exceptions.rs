//! Exceptions to which a stopped program has references.
//!
//! In an instance they are records in its region; a reference is the number of one. Records that nothing refers to are not
//! told from others there, so what is written down is found from the references that the program has. There the numbers
//! are those of [`Exceptions`], from 1 on.

use crate::error::ImageError;
use crate::frames::{push_value, read_value};
use crate::instance::Region;
use crate::leb::{self, Cursor};
use crate::program::Program;
use gate_compiler::{ExceptionsInfo, FuncType, HeapType, ModuleInfo, RefType, ValType, Value};
use std::collections::HashMap;

/// Exceptions, by number from 1 on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exceptions {
    list: Vec<Exception>,
    /// From numbers of records.
    numbers: HashMap<u32, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    pub(crate) tag: u32,
    /// References to exceptions are numbers of records in a region, and of exceptions where these are written down.
    pub(crate) values: Vec<Value>,
}

/// Why there are no such exceptions.
#[derive(Debug)]
pub(crate) enum ExceptionError {
    /// There is no exception with this number, or it does not carry what its tag says.
    Invalid(u32),
    Host(ImageError),
}

impl From<ImageError> for ExceptionError {
    fn from(error: ImageError) -> Self {
        Self::Host(error)
    }
}

impl Exceptions {
    /// Finds the exceptions to which some values refer, and those to which these refer, and so on. Their numbers follow from the
    /// order of the values.
    pub(crate) fn find(
        program: &Program,
        region: Region<'_>,
        roots: impl IntoIterator<Item = Value>,
    ) -> Result<Self, ExceptionError> {
        let mut exceptions = Self::default();
        let mut records = Vec::new();
        roots.into_iter().for_each(|value| exceptions.add(value, &mut records));
        let mut next = 0;
        while let Some(&record) = records.get(next) {
            next += 1;
            let invalid = ExceptionError::Invalid(record);
            let Some(exceptions_info) = &program.info().exceptions else { return Err(invalid) };
            let exception = region.exception(exceptions_info, record)?.ok_or(invalid)?;
            if !exception.fits(program.info(), exceptions_info) {
                return Err(ExceptionError::Invalid(record));
            }
            exception.values.iter().for_each(|&value| exceptions.add(value, &mut records));
            exceptions.list.push(exception);
        }
        for index in 0..exceptions.list.len() {
            let mut values = std::mem::take(&mut exceptions.list[index].values);
            values.iter_mut().for_each(|value| *value = exceptions.stored(*value));
            exceptions.list[index].values = values;
        }
        Ok(exceptions)
    }

    fn add(&mut self, value: Value, records: &mut Vec<u32>) {
        if let Value::ExnRef(Some(record)) = value {
            self.numbers.entry(record).or_insert_with(|| {
                records.push(record);
                records.len() as u32
            });
        }
    }

    /// A value as it is written down.
    pub(crate) fn stored(&self, value: Value) -> Value {
        match value {
            Value::ExnRef(Some(record)) => Value::ExnRef(self.numbers.get(&record).copied()),
            other => other,
        }
    }

    /// The number of the exception that is in a record.
    pub(crate) fn number(&self, record: u32) -> Option<u32> {
        self.numbers.get(&record).copied()
    }

    pub(crate) fn len(&self) -> u32 {
        self.list.len() as u32
    }

    /// In order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Exception> {
        self.list.iter()
    }

    /// Contents of the section.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut buf = Vec::new();
        leb::push(&mut buf, self.list.len() as u64);
        for exception in &self.list {
            leb::push(&mut buf, exception.tag.into());
            leb::push(&mut buf, exception.values.len() as u64);
            exception.values.iter().for_each(|&value| push_value(&mut buf, value));
        }
        buf
    }

    /// Reads what [`Exceptions::encode`] has written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let mut list = Vec::new();
        for _ in 0..cursor.u32()? {
            let tag = cursor.u32()?;
            let count = cursor.u32()?;
            let values = (0..count).map(|_| read_value(&mut cursor)).collect::<Option<_>>()?;
            list.push(Exception { tag, values });
        }
        let numbers = HashMap::new();
        cursor.rest().is_empty().then_some(Self { list, numbers })
    }

    /// Checks exceptions that have been read. Returns the number of the first that is not one of the program's.
    pub(crate) fn check(&self, info: &ModuleInfo) -> Result<(), u32> {
        let Some(exceptions) = &info.exceptions else {
            return if self.list.is_empty() { Ok(()) } else { Err(1) };
        };
        // Record 0 is none of them.
        if self.len() >= exceptions.capacity {
            return Err(exceptions.capacity);
        }
        for (number, exception) in (1..).zip(&self.list) {
            let exists = |value: &Value| self.contains(*value);
            if !exception.fits(info, exceptions) || !exception.values.iter().all(exists) {
                return Err(number);
            }
        }
        Ok(())
    }

    /// Whether the exception exists to which a value may refer, as it is written down.
    pub(crate) fn contains(&self, value: Value) -> bool {
        match value {
            Value::ExnRef(Some(number)) => (1..=self.len()).contains(&number),
            _ => true,
        }
    }
}

impl Exception {
    /// Whether the tag exists, and the values are of the types that it says.
    fn fits(&self, info: &ModuleInfo, exceptions: &ExceptionsInfo) -> bool {
        let signature = exceptions.tags.get(self.tag as usize);
        let signature = signature.and_then(|&number| info.signatures.get(number as usize));
        let Some(types) = signature.map(|signature| &signature.ty.params) else { return false };
        types.len() == self.values.len()
            && types.iter().zip(&self.values).all(|(&ty, &value)| is_of_type(value, ty, info))
    }
}

/// Whether a value is of a type of the module's: one that is not of an operand or a local.
pub(crate) fn is_of_type(value: Value, ty: ValType, info: &ModuleInfo) -> bool {
    let signature = |number: u32| info.signatures.get(number as usize).map(|signature| &signature.ty);
    ty.admits(value) && refers_to_function(value, ty, info, signature)
}

/// Whether the function to which a value may refer exists, and is of the type that the reference's type says.
pub(crate) fn refers_to_function<'a>(
    value: Value,
    ty: ValType,
    info: &ModuleInfo,
    signature: impl FnOnce(u32) -> Option<&'a FuncType>,
) -> bool {
    let Value::FuncRef(Some(function)) = value else { return true };
    let Some(found) = info.functions.get(function as usize) else { return false };
    match ty.as_reference() {
        Some(RefType { heap: HeapType::Signature(number), .. }) => signature(number) == Some(found),
        _ => true,
    }
}
