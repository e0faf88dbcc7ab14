//! `catalog`: which services there are.

use crate::calls::Calls;
use crate::{CallService, Context, Registry, Restored, Service, ServiceError, ServiceInstance};
use std::error::Error;

/// Lists the services that an instance can discover.
#[derive(Clone, Copy, Debug, Default)]
pub struct Catalog;

const NAME: &str = "catalog";

impl Service for Catalog {
    fn name(&self) -> &str {
        NAME
    }

    fn create(
        &self,
        registry: &Registry,
        restored: Restored<'_>,
    ) -> Result<Box<dyn ServiceInstance>, Box<dyn Error + Send + Sync>> {
        Calls::new(Listing(registry.clone())).create(registry, restored)
    }
}

struct Listing(Registry);

impl CallService for Listing {
    fn name(&self) -> &str {
        NAME
    }

    async fn call(&self, _: &Context, content: &[u8]) -> Result<Vec<u8>, ServiceError> {
        if content != b"json" {
            return Ok(Vec::new());
        }
        let entry = |(name, revision)| serde_json::json!({ "name": name, "revision": revision });
        let services: Vec<_> = self.0.catalog().map(entry).collect();
        Ok(serde_json::json!({ "services": services }).to_string().into_bytes())
    }
}
