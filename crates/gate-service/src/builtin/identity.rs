//! `identity`: who an instance is.

use crate::{CallService, Context, ServiceError};

/// Tells programs whose they are, and which instance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity;

impl CallService for Identity {
    fn name(&self) -> &str {
        "identity"
    }

    async fn call(&self, context: &Context, content: &[u8]) -> Result<Vec<u8>, ServiceError> {
        let text = match content.first() {
            Some(1) => context.principal.clone(),
            Some(2) => context.instance.map(uuid),
            _ => None,
        };
        Ok(text.unwrap_or_default().into_bytes())
    }
}

/// The text form of RFC 9562.
fn uuid(id: [u8; 16]) -> String {
    let mut text: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    for position in [8, 13, 18, 23] {
        text.insert(position, '-');
    }
    text
}
