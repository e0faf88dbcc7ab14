//! Where a server is.

use std::fmt;
use std::str::FromStr;
use tonic::transport::Endpoint;

/// Where a server is: `http://HOST:PORT`, or `unix:PATH`.
#[derive(Clone, Debug)]
pub struct Address {
    text: String,
    endpoint: Endpoint,
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither http://HOST:PORT nor unix:PATH")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.contains('\0') {
                return Err(error());
            }
        } else {
            let uri: tonic::codegen::http::Uri = text.parse().map_err(|_| error())?;
            let plain = uri.scheme_str() == Some("http") && uri.path() == "/" && uri.query().is_none();
            if !plain || uri.port_u16().is_none() || uri.host().is_none_or(str::is_empty) {
                return Err(error());
            }
        }
        let endpoint = Endpoint::from_shared(text.to_owned()).map_err(|_| error())?;
        Ok(Self { text: text.to_owned(), endpoint })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Address {
    /// What connects to it.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in
            ["http://127.0.0.1:50051", "http://[::1]:1", "http://localhost:80", "unix:/run/x", "unix:x"]
        {
            assert_eq!(good.parse::<Address>().expect(good).to_string(), good);
        }
        for bad in [
            "",
            "unix:",
            "localhost:1",
            "http://localhost",
            "https://localhost:1",
            "http://:1",
            "http://a:1/b",
            "http://a:b",
        ] {
            assert_eq!(bad.parse::<Address>().expect_err(bad), AddressError(bad.into()));
        }
    }
}
