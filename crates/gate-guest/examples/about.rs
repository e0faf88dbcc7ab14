//! Tells what it can find out about itself, and gives rights up.
//!
//!     gate run about.wasm

use gate_guest::logger::{Level, Logger};
use gate_guest::{catalog::Catalog, identity::Identity, origin::Origin, random::Random, scope::Scope, Error};

fn main() -> Result<(), Error> {
    gate_guest::run(|gate| async move {
        let mut output = Origin::discover(&gate).await?.accept().await?.ok_or(Error::Closed)?;
        let identity = Identity::discover(&gate).await?;
        let (principal, instance) = (identity.principal().await?, identity.instance().await?);
        let mut random = Random::discover(&gate).await?;
        let (first, second) = (random.bytes(8).await?, random.bytes(1).await?);
        let logger = Logger::discover(&gate).await?;
        logger.log(Level::Warn, "this is logged").await?;
        Scope::discover(&gate).await?.restrict(&["identity"]).await?;
        let lost = gate.service("kv").await.unwrap_err();
        let catalog = Catalog::discover(&gate).await;
        let text = format!(
            "principal: {}\ninstance: {} characters\nrandom: {} and {} bytes\nkv: {lost}\ncatalog: {}\n",
            principal.as_deref().unwrap_or("nobody"),
            instance.unwrap_or_default().len(),
            first.len(),
            second.len(),
            match &catalog {
                Ok(_) => "there",
                Err(_) => "lost",
            },
        );
        output.write_all(text.as_bytes()).await
    })
}
