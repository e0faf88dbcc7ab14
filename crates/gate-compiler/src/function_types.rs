//! Types of functions.

use crate::value::FuncType;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Index;

/// Types of functions, by index. Most functions of a module share a few types.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct FunctionTypes {
    /// Different from each other, in the order of their first functions.
    types: Vec<FuncType>,
    /// For each function an index of its type.
    functions: Vec<u32>,
}

impl FunctionTypes {
    /// The type of a function.
    pub fn get(&self, function: usize) -> Option<&FuncType> {
        self.types.get(*self.functions.get(function)? as usize)
    }

    /// The type of the last function.
    pub fn last(&self) -> Option<&FuncType> {
        self.get(self.len().checked_sub(1)?)
    }

    /// Number of functions.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether there are no functions.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }
}

/// Panics if there is no such function.
impl Index<usize> for FunctionTypes {
    type Output = FuncType;

    fn index(&self, function: usize) -> &FuncType {
        &self.types[self.functions[function] as usize]
    }
}

impl<'a> FromIterator<&'a FuncType> for FunctionTypes {
    fn from_iter<I: IntoIterator<Item = &'a FuncType>>(functions: I) -> Self {
        let mut all = Self::default();
        let mut known = HashMap::new();
        for ty in functions {
            let index = *known.entry(ty).or_insert_with(|| {
                all.types.push(ty.clone());
                all.types.len() as u32 - 1
            });
            all.functions.push(index);
        }
        all
    }
}

/// What was written, of which nothing is certain.
#[derive(Deserialize)]
struct Parts {
    types: Vec<FuncType>,
    functions: Vec<u32>,
}

impl TryFrom<Parts> for FunctionTypes {
    type Error = &'static str;

    fn try_from(Parts { types, functions }: Parts) -> Result<Self, Self::Error> {
        match functions.iter().all(|&index| (index as usize) < types.len()) {
            true => Ok(Self { types, functions }),
            false => Err("a function has a type that does not exist"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::ValType;

    #[test]
    fn equal_types_are_kept_once() {
        let a = FuncType { params: vec![ValType::I32], results: Vec::new() };
        let b = FuncType::default();
        let types: FunctionTypes = [&a, &b, &a].into_iter().collect();
        assert_eq!((types.len(), types.types.len()), (3, 2));
        assert_eq!(
            [types.get(0), types.get(1), types.last(), types.get(3)],
            [Some(&a), Some(&b), Some(&a), None]
        );
        assert!(types[1] == b && !types.is_empty());
        assert!(FunctionTypes::try_from(Parts { types: vec![a], functions: vec![0, 1] }).is_err());
    }
}
