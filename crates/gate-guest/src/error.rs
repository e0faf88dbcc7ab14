//! Errors.

use core::fmt;

/// Why something could not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no such service, at the moment.
    Unavailable,
    /// No more services can be discovered: 256 are the most.
    TooManyServices,
    /// A service's name is empty, or has more than 127 bytes.
    Name,
    /// Something is too long for a packet, or for its place in one.
    TooLong,
    /// The other side of a stream takes nothing more, or the program has ended the stream itself.
    Closed,
    /// The service does not know the call, or is not to be disturbed: its reply was empty.
    Refused,
    /// The reply is not one that the service's protocol has.
    Reply,
    /// The service's own error. Its protocol says what the number means.
    Service(i32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable => f.write_str("the service is not available"),
            Self::TooManyServices => f.write_str("too many services have been discovered"),
            Self::Name => f.write_str("a service's name has between 1 and 127 bytes"),
            Self::TooLong => f.write_str("it is too long for a packet"),
            Self::Closed => f.write_str("the stream is closed"),
            Self::Refused => f.write_str("the service has refused the call"),
            Self::Reply => f.write_str("the service's reply cannot be understood"),
            Self::Service(code) => write!(f, "the service reports error {code}"),
        }
    }
}

#[cfg(feature = "std")]
impl std::error::Error for Error {}
